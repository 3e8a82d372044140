#define _GNU_SOURCE
#include "loader/frames.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "loader/address_index.h"
#include "loader/unwind.h"

enum {
    OBJECT_WORDS = 16,   /* more than libgcc's struct object has (unwind-dw2-fde.h) */
    INSTALL_CONTEXT = 7, /* _URC_INSTALL_CONTEXT: Itanium C++ ABI, Exception Handling, 1.1 */
    DWARF_R15 = 15,      /* x86-64 psABI 1.0, figure 3.36 */
};

/* A function of libgcc_s, which is opened if it is not yet. */
static void *libgcc_function(const char *name)
{
    void *library = dlopen("libgcc_s.so.1", RTLD_LAZY);
    return library ? dlsym(library, name) : NULL;
}

/* The crate's .eh_frame, by its header (LSB 5.0, "DWARF Exception Header Encoding"): version, encodings, and a
 * pc-relative pointer of 4 bytes; NULL if it is another. */
static const uint8_t *find_frames(const struct loaded_crate *crate)
{
    enum { PCREL_SDATA4 = 0x1b };
    uint8_t encodings[4];
    int32_t distance;
    struct span header = {crate->base + crate->view.header.eh_frame_hdr_rva, crate->view.header.eh_frame_hdr_size};
    if (!crate->view.header.eh_frame_hdr_rva || !span_read(header, 0, encodings, sizeof encodings) ||
        encodings[1] != PCREL_SDATA4 || !span_read(header, 4, &distance, sizeof distance))
        return NULL;
    uint64_t rva = crate->view.header.eh_frame_hdr_rva + UINT64_C(4) + (uint64_t)(int64_t)distance;
    return crate_segment_has(&crate->view.header, CRATE_SEGMENT_RODATA, rva, 4, true) ? crate->base + rva : NULL;
}

/* Whether the records at `frames` end, within the read-only data, with the zero that libgcc looks for. */
static bool has_end(const struct loaded_crate *crate, const uint8_t *frames)
{
    const struct crate_segment *rodata = &crate->view.header.segments[CRATE_SEGMENT_RODATA];
    struct span all = {crate->base + rodata->rva, rodata->file_size};
    uint64_t off = (uint64_t)(frames - all.data);
    uint32_t length;
    while (span_read(all, off, &length, sizeof length)) {
        if (!length)
            return true;
        off += UINT64_C(4) + length;
    }
    return false;
}

struct crateld_error *frames_register(const struct loaded_crate *crate)
{
    const uint8_t *frames = find_frames(crate);
    if (!frames || !has_end(crate, frames))
        return NULL;
    void (*add)(const void *, void *) = (void (*)(const void *, void *))libgcc_function("__register_frame_info");
    void *object = add ? calloc(OBJECT_WORDS, sizeof(uint64_t)) : NULL;
    if (!add)
        return error_create(CRATELD_ERROR_NOT_FOUND,
                            "%s: has call frames, and there is no libgcc_s.so.1 to tell of them", crate->path);
    if (!object)
        return error_memory();
    add(frames, object); /* which keeps the object */
    return NULL;
}

typedef int personality(int, int, uint64_t, void *, struct _Unwind_Context *);

/* Sets the TOC register, if the context continues in TOC code. */
static void fix_context(struct _Unwind_Context *context)
{
    static uintptr_t (*_Atomic get_ip)(struct _Unwind_Context *);
    static void (*_Atomic set_gr)(struct _Unwind_Context *, int, uintptr_t);
    if (!get_ip || !set_gr) {
        set_gr = (void (*)(struct _Unwind_Context *, int, uintptr_t))libgcc_function("_Unwind_SetGR");
        get_ip = (uintptr_t(*)(struct _Unwind_Context *))libgcc_function("_Unwind_GetIP");
        if (!set_gr || !get_ip)
            abort();
    }
    uintptr_t ip = get_ip(context);
    struct loaded_crate *crate = address_index_find(ip);
    if (crate && unwind_is_toc_code(crate, ip))
        set_gr(context, DWARF_R15, (uintptr_t)unwind_toc(crate));
}

static int call_personality(personality *_Atomic *real, const char *library, const char *name, int version, int actions,
                            uint64_t class, void *exception, struct _Unwind_Context *context)
{
    if (!*real) {
        void *handle = dlopen(library, RTLD_LAZY);
        *real = handle ? (personality *)dlsym(handle, name) : NULL;
        if (!*real)
            abort();
    }
    int result = (*real)(version, actions, class, exception, context);
    if (result == INSTALL_CONTEXT)
        fix_context(context);
    return result;
}

static int cxx_personality(int version, int actions, uint64_t class, void *exception, struct _Unwind_Context *context)
{
    static personality *_Atomic real;
    return call_personality(&real, "libstdc++.so.6", "__gxx_personality_v0", version, actions, class, exception,
                            context);
}

static int c_personality(int version, int actions, uint64_t class, void *exception, struct _Unwind_Context *context)
{
    static personality *_Atomic real;
    return call_personality(&real, "libgcc_s.so.1", "__gcc_personality_v0", version, actions, class, exception,
                            context);
}

void *frames_personality(const char *name)
{
    if (!strcmp(name, "__gxx_personality_v0"))
        return (void *)cxx_personality;
    return strcmp(name, "__gcc_personality_v0") ? NULL : (void *)c_personality;
}
