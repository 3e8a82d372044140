/* Parses XML in pieces of several sizes: elements, attributes, entities, namespaces, encodings, errors. */
#include <expat.h>
#include <stdio.h>
#include <string.h>

static void XMLCALL start(void *context, const char *name, const char **attributes)
{
    printf("%*s<%s", 2 * (*(int *)context)++, "", name);
    for (; *attributes; attributes += 2)
        printf(" %s='%s'", attributes[0], attributes[1]);
    puts(">");
}

static void XMLCALL end(void *context, const char *name)
{
    printf("%*s</%s>\n", 2 * --*(int *)context, "", name);
}

static void XMLCALL text(void *context, const char *bytes, int size)
{
    (void)context;
    for (int i = 0; i < size; i++)
        printf("%02x", (unsigned char)bytes[i]);
    puts("");
}

static void XMLCALL comment(void *context, const char *bytes)
{
    (void)context;
    printf("comment %s\n", bytes);
}

static void XMLCALL instruction(void *context, const char *target, const char *bytes)
{
    (void)context;
    printf("instruction %s %s\n", target, bytes);
}

static int XMLCALL unknown(void *context, const char *name, XML_Encoding *info)
{
    (void)context;
    printf("encoding %s\n", name);
    for (int i = 0; i < 256; i++)
        info->map[i] = i;
    info->data = NULL;
    info->convert = NULL;
    info->release = NULL;
    return XML_STATUS_OK;
}

static const char *const documents[] = {
    "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY e 'entity &#60;d>more&#60;/d>'><!ATTLIST b c CDATA 'default'>]>"
    "<a x='1' y='&lt;2&gt;'><b/>&e;<!-- remark --><?do this?><c>&#x20ac; \xc3\xa4</c><![CDATA[<raw>]]></a>",
    "<n:a xmlns:n='urn:n' xmlns='urn:d'><b n:c='d'/></n:a>",
    "<?xml version='1.0' encoding='iso-8859-1'?><a>\xe4\xf6\xfc</a>",
    "<?xml version='1.0' encoding='x-own'?><a>\xe4</a>",
    "<a><b></a>",
    "<a>&undefined;</a>",
    "<a",
    "<!DOCTYPE a [<!ENTITY x 'xxxxxxxxxx'><!ENTITY y '&x;&x;&x;&x;&x;'>]><a>&y;</a>",
};

int main(void)
{
    puts(XML_ExpatVersion());
    for (const XML_Feature *f = XML_GetFeatureList(); f->feature; f++)
        printf("%s=%ld\n", f->name, f->value);
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        static const size_t pieces[] = {1000, 1, 7};
        for (size_t j = 0; j < 3; j++) {
            int depth = 0;
            XML_Parser parser = i == 1 ? XML_ParserCreateNS(NULL, '|') : XML_ParserCreate(NULL);
            XML_SetHashSalt(parser, 42);
            XML_SetUserData(parser, &depth);
            XML_SetElementHandler(parser, start, end);
            XML_SetCharacterDataHandler(parser, text);
            XML_SetCommentHandler(parser, comment);
            XML_SetProcessingInstructionHandler(parser, instruction);
            XML_SetUnknownEncodingHandler(parser, unknown, NULL);
            size_t size = strlen(documents[i]);
            enum XML_Status status = XML_STATUS_OK;
            for (size_t at = 0; at < size && status == XML_STATUS_OK; at += pieces[j]) {
                size_t n = size - at < pieces[j] ? size - at : pieces[j];
                status = XML_Parse(parser, documents[i] + at, (int)n, at + n == size);
            }
            if (status != XML_STATUS_OK)
                printf("error: %s at %lu:%lu\n", XML_ErrorString(XML_GetErrorCode(parser)),
                       XML_GetCurrentLineNumber(parser), XML_GetCurrentColumnNumber(parser));
            XML_ParserFree(parser);
        }
    }
    return 0;
}
