#include "linker/archive.h"

#include <ar.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/vec.h"

#define THIN_MAGIC "!<thin>\n"

enum {
    HEADER_SIZE = sizeof(struct ar_hdr),
    DECIMAL_MAX_DIGITS = 15, /* such a number fits a uint64_t, and so does its sum with a file's size */
};

struct archive_external {
    struct archive_external *next; /* owned */
    struct file file;              /* owned */
    struct archive nested;         /* owned; of what `file` holds, zeroed if that is an object */
};

/* What is known while the members are listed. */
struct listing {
    struct archive *archive;
    VEC(struct archive_member) members;
    struct span names; /* of `//` */
    struct span index; /* of `/` or `/SYM64/` */
    uint64_t index_off;
    unsigned index_word_size; /* bytes of a number in the index; 0: no index was seen */
};

/* One member header, taken apart. */
struct header {
    char name[sizeof((struct ar_hdr){0}.ar_name) + 1]; /* NUL-terminated, trailing blanks removed */
    uint64_t off;                                      /* of the header */
    uint64_t data_off;
    uint64_t size; /* of the data, which need not be there */
};

/* An error at the member header at `off`. */
#define FAULT(archive, off, ...)                                                                                       \
    error_prefix(error_create(CRATELD_ERROR_FORMAT, __VA_ARGS__), "%s: member header at 0x%" PRIx64, (archive)->path,  \
                 (off))

/* Reads the decimal number at the start of `text`; *end is what follows it. False: none, or one beyond all
 * sizes. */
static bool read_decimal(const char *text, size_t length, uint64_t *ret, size_t *end)
{
    uint64_t value = 0;
    size_t i = 0;
    while (i < length && text[i] >= '0' && text[i] <= '9') {
        if (i == DECIMAL_MAX_DIGITS)
            return false;
        value = value * 10 + (uint64_t)(text[i++] - '0');
    }
    *ret = value;
    *end = i;
    return i > 0;
}

/* A field of nothing but a decimal number and blanks behind it. */
static bool read_decimal_field(const char *text, size_t length, uint64_t *ret)
{
    size_t end;
    if (!read_decimal(text, length, ret, &end))
        return false;
    while (end < length && text[end] == ' ')
        end++;
    return end == length;
}

static struct crateld_error *read_header(const struct archive *archive, uint64_t off, struct header *ret)
{
    struct ar_hdr raw;
    if (!span_read(archive->data, off, &raw, sizeof raw))
        return FAULT(archive, off, "%zu bytes are left, a header has %d", archive->data.size - (size_t)off,
                     HEADER_SIZE);
    if (memcmp(raw.ar_fmag, ARFMAG, sizeof raw.ar_fmag) != 0)
        return FAULT(archive, off, "does not end in '`' and a newline");
    if (!read_decimal_field(raw.ar_size, sizeof raw.ar_size, &ret->size))
        return FAULT(archive, off, "size '%.*s' is no decimal number", (int)sizeof raw.ar_size, raw.ar_size);
    size_t length = sizeof raw.ar_name;
    while (length && raw.ar_name[length - 1] == ' ')
        length--;
    memcpy(ret->name, raw.ar_name, length);
    ret->name[length] = 0;
    ret->off = off;
    ret->data_off = off + HEADER_SIZE;
    return NULL;
}

/* The data of the member under `header`, which must lie in the archive. */
static struct crateld_error *slice_data(const struct archive *archive, const struct header *header, struct span *ret)
{
    if (!span_slice(archive->data, header->data_off, header->size, ret))
        return FAULT(archive, header->off, "'%s' has %" PRIu64 " bytes, %zu are left", header->name, header->size,
                     archive->data.size - (size_t)header->data_off);
    return NULL;
}

/* A thin archive's path: `name`, relative to the archive's folder unless it is absolute. */
static const char *external_path(struct archive *archive, const char *name)
{
    const char *slash = strrchr(archive->path, '/');
    if (name[0] == '/' || !slash)
        return name;
    return arena_printf(&archive->arena, "%.*s%s", (int)(slash + 1 - archive->path), archive->path, name);
}

/* GNU: "/123", the name at 123 in `//`, ended by "/\n" (or by a newline, or by NUL, as other tools write it).
 * In thin archives also "/123:456", the member whose header is at 456 in the archive of that name. */
static struct crateld_error *read_long_name(struct listing *listing, const struct header *header,
                                            struct archive_member *member)
{
    const char *digits = header->name + 1;
    size_t length = strlen(digits), end, nested_end = 0;
    uint64_t off;
    if (!read_decimal(digits, length, &off, &end))
        return FAULT(listing->archive, header->off, "name '%s' is no offset", header->name);
    if (listing->archive->is_thin && digits[end] == ':') {
        end++;
        if (!read_decimal(digits + end, length - end, &member->nested_off, &nested_end) || !member->nested_off)
            return FAULT(listing->archive, header->off, "name '%s' has no offset after ':'", header->name);
    }
    if (end + nested_end != length)
        return FAULT(listing->archive, header->off, "name '%s' is no offset", header->name);
    struct span rest = span_from(listing->names, off);
    size_t name_length = 0;
    while (name_length < rest.size && rest.data[name_length] != '\n' && rest.data[name_length] != 0)
        name_length++;
    if (name_length == rest.size)
        return FAULT(listing->archive, header->off,
                     "name at %" PRIu64 " is outside the %zu bytes of long names, or has no end", off,
                     listing->names.size);
    if (name_length && rest.data[name_length - 1] == '/')
        name_length--;
    member->name = arena_strndup(&listing->archive->arena, (const char *)rest.data, name_length);
    return member->name ? NULL : error_memory();
}

/* BSD: "#1/20", the name is the first 20 bytes of the data, filled up with NULs. */
static struct crateld_error *read_bsd_name(struct listing *listing, const struct header *header,
                                           struct archive_member *member)
{
    const char *digits = header->name + strlen("#1/");
    uint64_t length;
    if (!read_decimal_field(digits, strlen(digits), &length) || length > member->data.size)
        return FAULT(listing->archive, header->off, "name '%s' does not fit the member's %zu bytes", header->name,
                     member->data.size);
    member->name = arena_strndup(&listing->archive->arena, (const char *)member->data.data,
                                 strnlen((const char *)member->data.data, (size_t)length));
    member->data = span_from(member->data, length);
    return member->name ? NULL : error_memory();
}

static struct crateld_error *read_name(struct listing *listing, const struct header *header,
                                       struct archive_member *member)
{
    if (header->name[0] == '/')
        return read_long_name(listing, header, member);
    if (strncmp(header->name, "#1/", 3) == 0 && !listing->archive->is_thin)
        return read_bsd_name(listing, header, member);
    size_t length = strlen(header->name);
    if (length && header->name[length - 1] == '/')
        length--;
    member->name = arena_strndup(&listing->archive->arena, header->name, length);
    return member->name ? NULL : error_memory();
}

/* Enters an ordinary member. */
static struct crateld_error *add_member(struct listing *listing, const struct header *header)
{
    struct archive *archive = listing->archive;
    struct archive_member member = {.header_off = header->off};
    if (!archive->is_thin)
        TRY(slice_data(archive, header, &member.data));
    TRY(read_name(listing, header, &member));
    if (!member.name[0])
        return FAULT(archive, header->off, "the member has no name");
    if (archive->is_thin) {
        member.external_path = external_path(archive, member.name);
        if (!member.external_path)
            return error_memory();
    }
    if (listing->members.count == UINT32_MAX)
        return FAULT(archive, header->off, "more than %" PRIu32 " members", UINT32_MAX);
    return VEC_PUSH(&listing->members, member) ? NULL : error_memory();
}

/* Enters what is at `off`, and moves `off` to the next header. */
static struct crateld_error *list_one(struct listing *listing, uint64_t *off)
{
    struct archive *archive = listing->archive;
    struct header header;
    TRY(read_header(archive, *off, &header));
    bool is_index = strcmp(header.name, "/") == 0, is_index64 = strcmp(header.name, "/SYM64/") == 0;
    bool is_names = strcmp(header.name, "//") == 0, is_special = is_index || is_index64 || is_names;
    if (is_names) {
        TRY(slice_data(archive, &header, &listing->names));
    } else if (is_special && !listing->index_word_size) {
        TRY(slice_data(archive, &header, &listing->index));
        listing->index_off = header.off;
        listing->index_word_size = is_index64 ? 8 : 4;
    } else if (!is_special) {
        TRY(add_member(listing, &header));
    }
    *off = header.data_off;
    if (is_special || !archive->is_thin)
        *off += header.size + (header.size & 1);
    return NULL;
}

/* The big-endian number at `off`, which is within the span. */
static uint64_t read_big_endian(struct span span, uint64_t off, unsigned size)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value = value << 8 | span.data[off + i];
    return value;
}

/* The member whose header is at `off`; UINT32_MAX if there is none. `guess` is tried first, and the one after
 * it: an index is mostly in the order of its members. */
static uint32_t find_member(const struct archive_member *members, uint32_t count, uint64_t off, uint32_t guess)
{
    for (uint32_t i = guess; i < count && i - guess < 2; i++)
        if (members[i].header_off == off)
            return i;
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (members[middle].header_off < off)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && members[low].header_off == off ? low : UINT32_MAX;
}

static struct crateld_error *read_index(struct listing *listing)
{
    struct archive *archive = listing->archive;
    struct span index = listing->index;
    unsigned word = listing->index_word_size;
    uint64_t count = index.size >= word ? read_big_endian(index, 0, word) : UINT64_MAX;
    if (count == UINT64_MAX || count > (index.size - word) / word || count > UINT32_MAX)
        return FAULT(archive, listing->index_off, "the index has no room for its symbols in %zu bytes", index.size);
    archive->symbols = arena_alloc_array(&archive->arena, (size_t)count, sizeof *archive->symbols);
    if (!archive->symbols)
        return error_memory();
    uint32_t guess = 0;
    uint64_t name_off = word + count * word;
    for (uint64_t i = 0; i < count; i++) {
        const char *name = span_string(index, name_off);
        if (!name)
            return FAULT(archive, listing->index_off, "the index's name %" PRIu64 " of %" PRIu64 " has no end", i,
                         count);
        uint64_t off = read_big_endian(index, word + i * word, word);
        guess = find_member(archive->members, archive->member_count, off, guess);
        if (guess == UINT32_MAX)
            return FAULT(archive, listing->index_off, "the index places '%s' at 0x%" PRIx64 ", where no member is",
                         name, off);
        archive->symbols[i] = (struct archive_symbol){name, guess};
        name_off += strlen(name) + 1;
    }
    archive->symbol_count = (uint32_t)count;
    archive->has_index = true;
    return NULL;
}

/* Lists all members, then reads the index, which refers to them. */
static struct crateld_error *read_archive(struct archive *archive)
{
    struct listing listing = {.archive = archive};
    struct crateld_error *error = NULL;
    for (uint64_t off = SARMAG; !error && off < archive->data.size;)
        error = list_one(&listing, &off);
    archive->members = listing.members.at;
    archive->member_count = (uint32_t)listing.members.count;
    if (!error && listing.index_word_size)
        error = read_index(&listing);
    return error;
}

struct crateld_error *archive_init(struct span data, const char *path, struct archive *ret)
{
    struct archive archive = {.data = data};
    if (data.size < SARMAG || (memcmp(data.data, ARMAG, SARMAG) != 0 && memcmp(data.data, THIN_MAGIC, SARMAG) != 0))
        return error_create(CRATELD_ERROR_FORMAT, "%s: does not start as an archive does", path);
    archive.is_thin = memcmp(data.data, THIN_MAGIC, SARMAG) == 0;
    arena_init(&archive.arena);
    archive.path = arena_strndup(&archive.arena, path, strlen(path));
    struct crateld_error *error = archive.path ? read_archive(&archive) : error_memory();
    if (error) {
        archive_deinit(&archive);
        return error;
    }
    *ret = archive;
    return NULL;
}

struct crateld_error *archive_open(const char *path, struct archive *ret)
{
    struct file file;
    TRY(file_open(path, &file));
    struct crateld_error *error = archive_init(file.data, path, ret);
    if (error)
        file_close(&file);
    else
        ret->file = file;
    return error;
}

void archive_deinit(struct archive *archive)
{
    for (struct archive_external *external = archive->externals; external;) {
        struct archive_external *next = external->next;
        archive_deinit(&external->nested); /* at most one level deep: see load_nested */
        file_close(&external->file);
        free(external);
        external = next;
    }
    free(archive->members);
    arena_deinit(&archive->arena);
    file_close(&archive->file);
    *archive = (struct archive){0};
}

/* Opens the file at `path` and keeps it; is_archive: it is to be read as one. */
static struct crateld_error *add_external(struct archive *archive, const char *path, bool is_archive,
                                          struct archive_external **ret)
{
    struct archive_external *external = calloc(1, sizeof *external);
    if (!external)
        return error_memory();
    struct crateld_error *error = is_archive ? archive_open(path, &external->nested) : file_open(path, &external->file);
    if (error) {
        free(external);
        return error;
    }
    external->next = archive->externals;
    archive->externals = external;
    *ret = external;
    return NULL;
}

/* The bytes of a thin archive's member that lies in another archive. That one may be thin again, but its
 * members must be files (ar writes no deeper nesting), so hostile archives can not send us round in circles.
 */
static struct crateld_error *load_nested(struct archive *archive, struct archive_member *member)
{
    struct archive_external *external = archive->externals;
    while (external && !(external->nested.path && strcmp(external->nested.path, member->external_path) == 0))
        external = external->next;
    if (!external)
        TRY(add_external(archive, member->external_path, true, &external));
    struct archive *nested = &external->nested;
    uint32_t idx = find_member(nested->members, nested->member_count, member->nested_off, 0);
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): what has an index is in the array */
    if (idx == UINT32_MAX || nested->members[idx].nested_off)
        return FAULT(archive, member->header_off, "'%s' has no member at 0x%" PRIx64, nested->path, member->nested_off);
    return archive_member_data(nested, idx, &member->data);
}

struct crateld_error *archive_member_data(struct archive *archive, uint32_t idx, struct span *ret)
{
    struct archive_member *member = &archive->members[idx];
    if (member->external_path && !member->data.data) {
        struct crateld_error *error;
        if (member->nested_off) {
            error = load_nested(archive, member);
        } else {
            struct archive_external *external = NULL;
            error = add_external(archive, member->external_path, false, &external);
            if (!error)
                member->data = external->file.data;
        }
        if (error)
            return error_prefix(error, "%s(%s)", archive->path, member->name);
    }
    *ret = member->data;
    return NULL;
}
