#include "cli/ld_options.h"

#include <stdio.h>
#include <string.h>

/* Reasons and advice that several rows share. */
#define LAYOUT   "the layout of crates is fixed: drop it"
#define DRIVER   "it concerns ld.so, which does not load crates"
#define COSMETIC "it concerns messages"
#define EFFORT   "it concerns how the linker works"
#define SYMBOLIC "names in a crate bind within it anyway"
#define STATIC                                                                                                         \
    "a crate uses the C library of its process: link without -static, and name archives (-l:libx.a, -Wl,-Bstatic)"

const struct ld_option ld_options[] = {
    /* What `crateld link` does. */
    {"o", LD_VALUE, LD_PASS, "-o"},
    {"output", LD_VALUE, LD_PASS, "-o"},
    {"l", LD_VALUE, LD_PASS, "-l"},
    {"library", LD_VALUE, LD_PASS, "-l"},
    {"L", LD_VALUE, LD_PASS, "-L"},
    {"library-path", LD_VALUE, LD_PASS, "-L"},
    {"u", LD_VALUE, LD_PASS, "-u"},
    {"undefined", LD_VALUE, LD_PASS, "-u"},
    {"h", LD_VALUE, LD_PASS, "--soname"},
    {"soname", LD_VALUE, LD_PASS, "--soname"},
    {"R", LD_VALUE, LD_PASS, "--rpath"},
    {"rpath", LD_VALUE, LD_PASS, "--rpath"},
    {"wrap", LD_VALUE, LD_PASS, "--wrap"},
    {"exclude-libs", LD_VALUE, LD_PASS, "--exclude-libs"},
    {"defsym", LD_VALUE, LD_PASS, "--defsym"},
    {"version-script", LD_VALUE, LD_PASS, "--version-script"},
    {"dynamic-list", LD_VALUE, LD_PASS, "--dynamic-list"},
    {"Map", LD_VALUE, LD_PASS, "--map"},
    {"whole-archive", LD_NO_VALUE, LD_PASS, "--whole-archive"},
    {"no-whole-archive", LD_NO_VALUE, LD_PASS, "--no-whole-archive"},
    {"as-needed", LD_NO_VALUE, LD_PASS, "--as-needed"},
    {"no-as-needed", LD_NO_VALUE, LD_PASS, "--no-as-needed"},
    {"push-state", LD_NO_VALUE, LD_PASS, "--push-state"},
    {"pop-state", LD_NO_VALUE, LD_PASS, "--pop-state"},
    {"Bstatic", LD_NO_VALUE, LD_PASS, "-Bstatic"},
    {"dn", LD_NO_VALUE, LD_PASS, "-Bstatic"},
    {"non_shared", LD_NO_VALUE, LD_PASS, "-Bstatic"},
    {"Bdynamic", LD_NO_VALUE, LD_PASS, "-Bdynamic"},
    {"dy", LD_NO_VALUE, LD_PASS, "-Bdynamic"},
    {"call_shared", LD_NO_VALUE, LD_PASS, "-Bdynamic"},
    {"s", LD_NO_VALUE, LD_PASS, "-s"},
    {"strip-all", LD_NO_VALUE, LD_PASS, "-s"},
    {"S", LD_NO_VALUE, LD_PASS, "-S"},
    {"strip-debug", LD_NO_VALUE, LD_PASS, "-S"},
    {"fatal-warnings", LD_NO_VALUE, LD_PASS, "--fatal-warnings"},
    {"verbose", LD_MAY_VALUE, LD_PASS, "-v"},
    {"t", LD_NO_VALUE, LD_PASS, "-v"},
    {"trace", LD_NO_VALUE, LD_PASS, "-v"},
    {"gc-sections", LD_NO_VALUE, LD_COLLECT, "--gc-sections"},
    {"no-gc-sections", LD_NO_VALUE, LD_COLLECT, "--no-gc-sections"},
    {"M", LD_NO_VALUE, LD_PRINT_MAP, ""},
    {"print-map", LD_NO_VALUE, LD_PRINT_MAP, ""},
    {"shared", LD_NO_VALUE, LD_SHARED, ""},
    {"Bshareable", LD_NO_VALUE, LD_SHARED, ""},
    {"z", LD_VALUE, LD_KEYWORD, ""},
    {"m", LD_VALUE, LD_EMULATION, ""},
    {"oformat", LD_VALUE, LD_FORMAT, ""},
    {"sysroot", LD_VALUE, LD_SYSROOT, ""},
    {"dynamic-linker", LD_VALUE, LD_DYNAMIC_LINKER, ""},
    {"I", LD_VALUE, LD_DYNAMIC_LINKER, ""},
    {"e", LD_VALUE, LD_ENTRY, ""},
    {"entry", LD_VALUE, LD_ENTRY, ""},
    {"init", LD_VALUE, LD_DEFAULT, "_init"},
    {"fini", LD_VALUE, LD_DEFAULT, "_fini"},
    {"no-undefined", LD_NO_VALUE, LD_DEFINED, ""},
    {"error-unresolved-symbols", LD_NO_VALUE, LD_DEFINED, ""},
    {"unresolved-symbols", LD_VALUE, LD_UNRESOLVED, ""},
    {"warn-unresolved-symbols", LD_NO_VALUE, LD_UNRESOLVED, ""},
    {"r", LD_NO_VALUE, LD_DELEGATE, ""},
    {"relocatable", LD_NO_VALUE, LD_DELEGATE, ""},
    {"i", LD_NO_VALUE, LD_DELEGATE, ""},
    {"Ur", LD_NO_VALUE, LD_DELEGATE, ""},
    {"v", LD_NO_VALUE, LD_VERSION, ""},
    {"V", LD_NO_VALUE, LD_VERSION, ""},
    {"version", LD_NO_VALUE, LD_ONLY_VERSION, ""},
    {"help", LD_NO_VALUE, LD_HELP, ""},
    {"print-folder", LD_NO_VALUE, LD_FOLDER, ""},
    {"print-refused", LD_NO_VALUE, LD_REFUSED, ""},

    /* What changes nothing here. */
    {"pie", LD_NO_VALUE, LD_IGNORE, "crates are position-independent where their objects are"},
    {"pic-executable", LD_NO_VALUE, LD_IGNORE, "crates are position-independent where their objects are"},
    {"no-pie", LD_NO_VALUE, LD_IGNORE, "crates are position-independent where their objects are"},
    {"plugin", LD_VALUE, LD_IGNORE, "LTO objects are compiled by crateld itself"},
    {"plugin-opt", LD_VALUE, LD_IGNORE, "LTO objects are compiled by crateld itself"},
    {"flto", LD_MAY_VALUE, LD_IGNORE, "LTO objects are compiled by crateld itself"},
    {"start-group", LD_NO_VALUE, LD_IGNORE, "archives are searched until nothing is missing anyway"},
    {"end-group", LD_NO_VALUE, LD_IGNORE, "archives are searched until nothing is missing anyway"},
    {"Bsymbolic", LD_NO_VALUE, LD_IGNORE, SYMBOLIC},
    {"Bsymbolic-functions", LD_NO_VALUE, LD_IGNORE, SYMBOLIC},
    {"Bsymbolic-non-weak", LD_NO_VALUE, LD_IGNORE, SYMBOLIC},
    {"Bsymbolic-non-weak-functions", LD_NO_VALUE, LD_IGNORE, SYMBOLIC},
    {"Bno-symbolic", LD_NO_VALUE, LD_IGNORE, SYMBOLIC},
    {"E", LD_NO_VALUE, LD_IGNORE, "programs export what is visible anyway"},
    {"export-dynamic", LD_NO_VALUE, LD_IGNORE, "programs export what is visible anyway"},
    {"no-export-dynamic", LD_NO_VALUE, LD_IGNORE, "programs export what is visible anyway"},
    {"export-dynamic-symbol", LD_VALUE, LD_IGNORE, "programs export what is visible anyway"},
    {"dynamic-list-data", LD_NO_VALUE, LD_IGNORE, "programs export what is visible anyway"},
    {"build-id", LD_MAY_VALUE, LD_IGNORE, "each crate has a build id in its header"},
    {"hash-style", LD_VALUE, LD_IGNORE, DRIVER},
    {"eh-frame-hdr", LD_NO_VALUE, LD_IGNORE, "crates always have it"},
    {"no-eh-frame-hdr", LD_NO_VALUE, LD_IGNORE, "crates always have it"},
    {"enable-new-dtags", LD_NO_VALUE, LD_IGNORE, DRIVER},
    {"disable-new-dtags", LD_NO_VALUE, LD_IGNORE, DRIVER},
    {"no-dynamic-linker", LD_NO_VALUE, LD_IGNORE, DRIVER},
    {"pack-dyn-relocs", LD_VALUE, LD_IGNORE, "crates always pack them"},
    {"rpath-link", LD_VALUE, LD_IGNORE,
     "what a crate needs does not need to be found when others are linked against it"},
    {"allow-shlib-undefined", LD_NO_VALUE, LD_IGNORE, "libraries are not checked"},
    {"no-allow-shlib-undefined", LD_NO_VALUE, LD_IGNORE, "libraries are not checked"},
    {"copy-dt-needed-entries", LD_NO_VALUE, LD_IGNORE, "a library that is needed and not named is told as an error"},
    {"no-copy-dt-needed-entries", LD_NO_VALUE, LD_IGNORE, "so it is"},
    {"add-needed", LD_NO_VALUE, LD_IGNORE, "a library that is needed and not named is told as an error"},
    {"no-add-needed", LD_NO_VALUE, LD_IGNORE, "so it is"},
    {"undefined-version", LD_NO_VALUE, LD_IGNORE, "so it is"},
    {"no-undefined-version", LD_NO_VALUE, LD_IGNORE, "exports have no versions"},
    {"nostdlib", LD_NO_VALUE, LD_IGNORE, "no library is added by itself"},
    {"x", LD_NO_VALUE, LD_IGNORE, "it concerns debugging"},
    {"X", LD_NO_VALUE, LD_IGNORE, "it concerns debugging"},
    {"discard-all", LD_NO_VALUE, LD_IGNORE, "it concerns debugging"},
    {"discard-locals", LD_NO_VALUE, LD_IGNORE, "it concerns debugging"},
    {"compress-debug-sections", LD_VALUE, LD_IGNORE, "it concerns debugging"},
    {"gdb-index", LD_NO_VALUE, LD_IGNORE, "it concerns debugging"},
    {"d", LD_NO_VALUE, LD_IGNORE, "common symbols are always allocated"},
    {"dc", LD_NO_VALUE, LD_IGNORE, "common symbols are always allocated"},
    {"dp", LD_NO_VALUE, LD_IGNORE, "common symbols are always allocated"},
    {"O", LD_VALUE, LD_IGNORE, EFFORT},
    {"EL", LD_NO_VALUE, LD_IGNORE, "so it is"},
    {"relax", LD_NO_VALUE, LD_IGNORE, EFFORT},
    {"no-relax", LD_NO_VALUE, LD_IGNORE, EFFORT},
    {"icf", LD_VALUE, LD_IGNORE, EFFORT},
    {"no-keep-memory", LD_NO_VALUE, LD_IGNORE, EFFORT},
    {"reduce-memory-overheads", LD_NO_VALUE, LD_IGNORE, EFFORT},
    {"threads", LD_MAY_VALUE, LD_IGNORE, EFFORT},
    {"no-threads", LD_NO_VALUE, LD_IGNORE, EFFORT},
    {"sort-common", LD_MAY_VALUE, LD_IGNORE, EFFORT},
    {"stats", LD_NO_VALUE, LD_IGNORE, COSMETIC},
    {"demangle", LD_MAY_VALUE, LD_IGNORE, COSMETIC},
    {"no-demangle", LD_NO_VALUE, LD_IGNORE, COSMETIC},
    {"color-diagnostics", LD_MAY_VALUE, LD_IGNORE, COSMETIC},
    {"no-fatal-warnings", LD_NO_VALUE, LD_IGNORE, COSMETIC},
    {"no-warnings", LD_NO_VALUE, LD_IGNORE, COSMETIC},
    {"w", LD_NO_VALUE, LD_IGNORE, COSMETIC},
    {"cref", LD_NO_VALUE, LD_IGNORE, COSMETIC},
    {"y", LD_VALUE, LD_IGNORE, COSMETIC},
    {"retain-symbols-file", LD_VALUE, LD_IGNORE, "it concerns debugging: what is exported stays so"},
    {"print-gc-sections", LD_NO_VALUE, LD_IGNORE, COSMETIC},
    {"no-print-gc-sections", LD_NO_VALUE, LD_IGNORE, COSMETIC},
    {"warn-common", LD_NO_VALUE, LD_IGNORE, COSMETIC},
    {"warn-constructors", LD_NO_VALUE, LD_IGNORE, COSMETIC},
    {"warn-once", LD_NO_VALUE, LD_IGNORE, COSMETIC},
    {"warn-section-align", LD_NO_VALUE, LD_IGNORE, COSMETIC},
    {"warn-textrel", LD_NO_VALUE, LD_IGNORE, COSMETIC},
    {"warn-alternate-em", LD_NO_VALUE, LD_IGNORE, COSMETIC},
    {"warn-execstack", LD_NO_VALUE, LD_IGNORE, COSMETIC},
    {"no-warn-execstack", LD_NO_VALUE, LD_IGNORE, COSMETIC},
    {"warn-rwx-segments", LD_NO_VALUE, LD_IGNORE, COSMETIC},
    {"no-warn-rwx-segments", LD_NO_VALUE, LD_IGNORE, COSMETIC},
    {"no-warn-mismatch", LD_NO_VALUE, LD_IGNORE, COSMETIC},
    {"no-warn-search-mismatch", LD_NO_VALUE, LD_IGNORE, COSMETIC},
    {"check-sections", LD_NO_VALUE, LD_IGNORE, "crates' sections never overlap"},
    {"no-check-sections", LD_NO_VALUE, LD_IGNORE, "crates' sections never overlap"},

    /* What would change the result. */
    {"static", LD_NO_VALUE, LD_REFUSE, STATIC},
    {"T", LD_VALUE, LD_REFUSE,
     "crates have no linker scripts for their layout; what is exported is said with --version-script, "
     "libraries are named on the command line or in a script of INPUT and GROUP"},
    {"script", LD_VALUE, LD_REFUSE, "crates have no linker scripts for their layout"},
    {"dT", LD_VALUE, LD_REFUSE, "crates have no linker scripts for their layout"},
    {"c", LD_VALUE, LD_REFUSE, "MRI scripts are not read"},
    {"mri-script", LD_VALUE, LD_REFUSE, "MRI scripts are not read"},
    {"Ttext", LD_VALUE, LD_REFUSE, LAYOUT},
    {"Tdata", LD_VALUE, LD_REFUSE, LAYOUT},
    {"Tbss", LD_VALUE, LD_REFUSE, LAYOUT},
    {"Ttext-segment", LD_VALUE, LD_REFUSE, LAYOUT},
    {"Trodata-segment", LD_VALUE, LD_REFUSE, LAYOUT},
    {"image-base", LD_VALUE, LD_REFUSE, LAYOUT},
    {"section-start", LD_VALUE, LD_REFUSE, LAYOUT},
    {"section-ordering-file", LD_VALUE, LD_REFUSE, LAYOUT},
    {"symbol-ordering-file", LD_VALUE, LD_REFUSE, LAYOUT},
    {"sort-section", LD_VALUE, LD_REFUSE, LAYOUT},
    {"orphan-handling", LD_VALUE, LD_REFUSE, LAYOUT},
    {"N", LD_NO_VALUE, LD_REFUSE, LAYOUT},
    {"omagic", LD_NO_VALUE, LD_REFUSE, LAYOUT},
    {"n", LD_NO_VALUE, LD_REFUSE, LAYOUT},
    {"nmagic", LD_NO_VALUE, LD_REFUSE, LAYOUT},
    {"split-by-file", LD_MAY_VALUE, LD_REFUSE, LAYOUT},
    {"split-by-reloc", LD_MAY_VALUE, LD_REFUSE, LAYOUT},
    {"Bgroup", LD_NO_VALUE, LD_REFUSE, "an import of a crate names where it comes from: drop it"},
    {"allow-multiple-definition", LD_NO_VALUE, LD_REFUSE,
     "leave all definitions of a name but one out, or make them weak"},
    {"default-symver", LD_NO_VALUE, LD_IGNORE, "exports have no versions"},
    {"default-imported-symver", LD_NO_VALUE, LD_IGNORE, "exports have no versions"},
    {"q", LD_NO_VALUE, LD_REFUSE, "a crate has its relocations in the relink section: see crateld inspect --relocs"},
    {"emit-relocs", LD_NO_VALUE, LD_REFUSE,
     "a crate has its relocations in the relink section: see crateld inspect --relocs"},
    {"EB", LD_NO_VALUE, LD_REFUSE, "crates are little-endian"},
    {"b", LD_VALUE, LD_REFUSE, "make an object of the file first: ld -r -b binary"},
    {"format", LD_VALUE, LD_REFUSE, "make an object of the file first: ld -r -b binary"},
    {"just-symbols", LD_VALUE, LD_REFUSE, "define the symbols with --defsym"},
    {"start-lib", LD_NO_VALUE, LD_REFUSE, "put the objects into an archive"},
    {"end-lib", LD_NO_VALUE, LD_REFUSE, "put the objects into an archive"},
    {"f", LD_VALUE, LD_REFUSE, "crates have no filters"},
    {"auxiliary", LD_VALUE, LD_REFUSE, "crates have no filters"},
    {"F", LD_VALUE, LD_REFUSE, "crates have no filters"},
    {"filter", LD_VALUE, LD_REFUSE, "crates have no filters"},
    {"noinhibit-exec", LD_NO_VALUE, LD_REFUSE,
     "a link with errors has no result; -z undefs leaves undefined symbols be"},
    {"audit", LD_VALUE, LD_REFUSE, DRIVER},
    {"depaudit", LD_VALUE, LD_REFUSE, DRIVER},
    {"out-implib", LD_VALUE, LD_REFUSE, "crates are linked against as they are"},
};
const size_t ld_option_count = sizeof ld_options / sizeof *ld_options;

/* Keywords of -z. */
static const struct {
    const char *name; /* ends with "=": a value follows */
    enum ld_action action;
    const char *advice;
} keywords[] = {
    {"undefs", LD_UNRESOLVED, NULL},
    {"defs", LD_DEFINED, NULL},
    {"execstack", LD_PASS, NULL},
    {"noexecstack", LD_PASS, NULL},
    {"now", LD_IGNORE, NULL},
    {"lazy", LD_IGNORE, NULL},
    {"relro", LD_IGNORE, NULL},
    {"norelro", LD_IGNORE, NULL},
    {"nodlopen", LD_IGNORE, NULL},
    {"nodelete", LD_IGNORE, NULL},
    {"nodump", LD_IGNORE, NULL},
    {"origin", LD_IGNORE, NULL},
    {"combreloc", LD_IGNORE, NULL},
    {"nocombreloc", LD_IGNORE, NULL},
    {"separate-code", LD_IGNORE, NULL},
    {"noseparate-code", LD_IGNORE, NULL},
    {"separate-loadable-segments", LD_IGNORE, NULL},
    {"text", LD_IGNORE, NULL},
    {"notext", LD_IGNORE, NULL},
    {"textoff", LD_IGNORE, NULL},
    {"max-page-size=", LD_IGNORE, NULL},
    {"common-page-size=", LD_IGNORE, NULL},
    {"pack-relative-relocs", LD_IGNORE, NULL},
    {"nopack-relative-relocs", LD_IGNORE, NULL},
    {"start-stop-gc", LD_IGNORE, NULL},
    {"nostart-stop-gc", LD_IGNORE, NULL},
    {"ibt", LD_IGNORE, NULL},
    {"shstk", LD_IGNORE, NULL},
    {"ibtplt", LD_IGNORE, NULL},
    {"cet-report=", LD_IGNORE, NULL},
    {"x86-64-", LD_IGNORE, NULL},
    {"nomark-plt", LD_IGNORE, NULL},
    {"global", LD_REFUSE, "open the crate with RTLD_GLOBAL"},
    {"muldefs", LD_REFUSE, "leave all definitions of a name but one out, or make them weak"},
    {"initfirst", LD_REFUSE, "a crate is initialised before those that need it"},
    {"interpose", LD_REFUSE, "an import of a crate names where it comes from"},
    {"loadfltr", LD_REFUSE, "crates have no filters"},
    {"nodefaultlib", LD_REFUSE, "crates are not looked for in default folders anyway: drop it"},
    {"stack-size=", LD_REFUSE, "set the limit of the process (ulimit -s)"},
    {"start-stop-visibility=", LD_REFUSE, "drop it"},
};

/* Whether `keyword` is `name`, or begins with it if that ends so that more must follow. */
static bool is_keyword(const char *keyword, const char *name)
{
    size_t length = strlen(name);
    bool has_more = length && strchr("=-", name[length - 1]);
    return strncmp(keyword, name, length) == 0 && (has_more || !keyword[length]);
}

enum ld_action ld_keyword_find(const char *keyword, const char **advice)
{
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
        if (is_keyword(keyword, keywords[i].name)) {
            *advice = keywords[i].advice;
            return keywords[i].action;
        }
    }
    *advice = NULL;
    return LD_REFUSE;
}

static const struct ld_option *find_long(const char *name, const char **value)
{
    size_t length = strcspn(name, "=");
    for (size_t i = 0; i < ld_option_count; i++) {
        const struct ld_option *option = &ld_options[i];
        if (!option->name[1] || strncmp(option->name, name, length) != 0 || option->name[length])
            continue;
        if (name[length] && option->value == LD_NO_VALUE)
            continue;
        *value = name[length] ? name + length + 1 : NULL;
        return option;
    }
    return NULL;
}

/* One letter, with what follows it within the argument. */
static const struct ld_option *find_short(const char *text, const char **value)
{
    for (size_t i = 0; i < ld_option_count; i++) {
        const struct ld_option *option = &ld_options[i];
        if (option->name[1] || option->name[0] != text[0] || (text[1] && option->value == LD_NO_VALUE))
            continue;
        *value = text[1] ? text + 1 : NULL;
        return option;
    }
    return NULL;
}

const struct ld_option *ld_option_find(const char *argument, const char **value)
{
    bool has_two = argument[1] == '-';
    const struct ld_option *found = find_long(argument + 1 + has_two, value);
    return found || has_two ? found : find_short(argument + 1, value);
}

static void print_name(const struct ld_option *option)
{
    static const char *const values[] = {[LD_NO_VALUE] = "", [LD_VALUE] = " X", [LD_MAY_VALUE] = "[=X]"};
    char name[64];
    snprintf(name, sizeof name, "%s%s%s", option->name[1] ? "--" : "-", option->name, values[option->value]);
    printf("  %-34s", name);
}

void ld_options_print(void)
{
    puts("\nunderstood:");
    for (size_t i = 0; i < ld_option_count; i++) {
        if (ld_options[i].action == LD_IGNORE || ld_options[i].action == LD_REFUSE)
            continue;
        print_name(&ld_options[i]);
        puts(ld_options[i].action == LD_PASS ? ld_options[i].more : "");
    }
    puts("\nignored, because it changes nothing here:");
    for (size_t i = 0; i < ld_option_count; i++) {
        if (ld_options[i].action != LD_IGNORE)
            continue;
        print_name(&ld_options[i]);
        puts(ld_options[i].more);
    }
    printf("  -z");
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (keywords[i].action == LD_IGNORE)
            printf(" %s", keywords[i].name);
    puts("");
}

void ld_options_print_refused(void)
{
    puts("refused, because it would change the result:");
    for (size_t i = 0; i < ld_option_count; i++) {
        if (ld_options[i].action != LD_REFUSE)
            continue;
        print_name(&ld_options[i]);
        puts(ld_options[i].more);
    }
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (keywords[i].action == LD_REFUSE)
            printf("  -z %-31s%s\n", keywords[i].name, keywords[i].advice);
}
