#define _GNU_SOURCE
#include "loader/first_calls.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/vec.h"
#include "loader/first_calls_area.h"
#include "loader/image.h"
#include "reloc/relink_reader.h"

struct function_list {
    VEC(struct trace_function) items;
};

static int compare_functions(const void *a, const void *b)
{
    const struct trace_function *x = a, *y = b;
    if (x->address != y->address)
        return x->address < y->address ? -1 : 1;
    return (x->symbol > y->symbol) - (x->symbol < y->symbol);
}

/* Adds the functions of one module that have a place in the text. */
static struct crateld_error *list_module(const struct loaded_crate *crate, const struct relink_view *relink, uint32_t i,
                                         struct function_list *list)
{
    struct relink_module module;
    TRY(relink_view_module(relink, i, &module));
    if (!*module.path) /* the linker's own code */
        return NULL;
    for (uint32_t k = 0; k < module.symbol_count; k++) {
        struct relink_symbol symbol;
        struct relink_section section;
        TRY(relink_view_symbol(relink, module.first_symbol + k, &symbol));
        if (symbol.where != RELINK_IN_SECTION || (symbol.type != STT_FUNC && symbol.type != STT_GNU_IFUNC))
            continue;
        TRY(relink_view_section(relink, symbol.section, &section));
        uint64_t rva = section.rva + symbol.value;
        if (section.flags & RELINK_SECTION_DROPPED || symbol.value >= section.size || rva > UINT32_MAX ||
            !crate_segment_has(&crate->view.header, CRATE_SEGMENT_TEXT, rva, 1, true))
            continue;
        struct trace_function function = {.address = loaded_address(crate, (uint32_t)rva),
                                          .symbol = module.first_symbol + k,
                                          .original = crate->base[rva]};
        if (!VEC_PUSH(&list->items, function))
            return error_memory();
    }
    return NULL;
}

static struct crateld_error *list_functions(const struct loaded_crate *crate, struct span file,
                                            struct function_list *list)
{
    struct span section;
    struct relink_view relink;
    TRY(crate_view_relink(&crate->view, file, &section));
    TRY(relink_view_open(crate->path, section, &relink));
    for (uint32_t i = 0; i < relink.module_count; i++)
        TRY(list_module(crate, &relink, i, list));
    size_t count = 0;
    if (list->items.count)
        qsort(list->items.at, list->items.count, sizeof *list->items.at, compare_functions);
    for (size_t i = 0; i < list->items.count; i++)
        if (!count || list->items.at[i].address != list->items.at[count - 1].address)
            list->items.at[count++] = list->items.at[i];
    list->items.count = count;
    return NULL;
}

/* Gives the crate and its functions a place in what is shared. */
static struct crateld_error *publish(struct first_calls *trace, const struct loaded_crate *crate,
                                     const struct function_list *list)
{
    uint32_t count = (uint32_t)list->items.count;
    uint32_t i = atomic_fetch_add(&trace->crate_count, 1), first = atomic_fetch_add(&trace->function_count, count);
    char link[64];
    if (i >= TRACE_MAX_CRATES || count > TRACE_MAX_FUNCTIONS || first > TRACE_MAX_FUNCTIONS - count)
        return error_create(CRATELD_ERROR_RANGE, "%s: more functions than a trace has room for", crate->path);
    struct trace_crate *shared = &trace->crates[i];
    snprintf(link, sizeof link, "/proc/self/fd/%d", crate->fd);
    ssize_t length = readlink(link, shared->path, sizeof shared->path - 1);
    if (length < 0)
        return error_errno(errno, "%s: cannot find out its path", crate->path);
    shared->path[length] = '\0';
    snprintf(shared->name, sizeof shared->name, "%s", crate->name);
    shared->first = first;
    shared->count = count;
    memcpy(&trace->functions[first], list->items.at, count * sizeof *list->items.at);
    atomic_store_explicit(&shared->is_published, true, memory_order_release);
    return NULL;
}

/* Writes the traps into the text, which is not writable: by /proc/self/mem, as debuggers do. */
static struct crateld_error *put_traps(struct loaded_crate *crate, const struct function_list *list)
{
    const struct crate_segment *text = &crate->view.header.segments[CRATE_SEGMENT_TEXT];
    int fd AUTO_CLOSE = open("/proc/self/mem", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(errno, "/proc/self/mem: cannot open");
    uint8_t *copy AUTO_FREE = malloc(text->file_size);
    if (!copy)
        return error_memory();
    memcpy(copy, crate->base + text->rva, text->file_size);
    for (size_t i = 0; i < list->items.count; i++)
        copy[list->items.at[i].address - loaded_address(crate, (uint32_t)text->rva)] = first_calls_trap;
    for (uint64_t done = 0; done < text->file_size;) {
        ssize_t written =
            pwrite(fd, copy + done, text->file_size - done, (off_t)(loaded_address(crate, (uint32_t)text->rva) + done));
        if (written <= 0)
            return error_errno(written ? errno : EIO, "%s: cannot write to its text", crate->path);
        done += (uint64_t)written;
    }
    return NULL;
}

struct crateld_error *first_calls_arm(struct first_calls *trace, struct loaded_crate *crate)
{
    struct function_list list = {0};
    struct stat status;
    if (!(crate->view.header.flags & CRATE_FLAG_HAS_RELINK) || crate->view.header.flags & CRATE_FLAG_PATCH)
        return NULL;
    if (!image_reopen_file(crate) || fstat(crate->fd, &status) != 0)
        return error_create(CRATELD_ERROR_IO, "%s: was replaced, and can not be traced", crate->path);
    size_t size = (size_t)status.st_size;
    void *file = mmap(NULL, size, PROT_READ, MAP_PRIVATE, crate->fd, 0);
    if (file == MAP_FAILED)
        return error_errno(errno, "%s: cannot map", crate->path);
    struct crateld_error *error = list_functions(crate, (struct span){file, size}, &list);
    munmap(file, size);
    if (!error && list.items.count) /* known before anything can run into it */
        error = publish(trace, crate, &list);
    if (!error && list.items.count)
        error = put_traps(crate, &list);
    free(list.items.at);
    return error;
}
