#define _GNU_SOURCE
#include "loader/rebind.h"

#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>

#include "loader/next_function.h"

struct rebinding {
    uint64_t stub, target;
};

/* The call slots of an object: gABI chapter 5, DT_JMPREL. */
struct slots {
    const Elf64_Rela *relocs;
    size_t count;
    uint64_t bias, relro_start, relro_end;
};

/* Reads the object's program headers and dynamic section, whose addresses ld.so has relocated. */
static struct slots find_slots(const struct dl_phdr_info *info)
{
    struct slots slots = {.bias = info->dlpi_addr};
    const Elf64_Dyn *dynamic = NULL;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const Elf64_Phdr *phdr = &info->dlpi_phdr[i];
        if (phdr->p_type == PT_DYNAMIC)
            dynamic = (const Elf64_Dyn *)(info->dlpi_addr + phdr->p_vaddr);
        if (phdr->p_type == PT_GNU_RELRO) {
            slots.relro_start = info->dlpi_addr + phdr->p_vaddr;
            slots.relro_end = slots.relro_start + phdr->p_memsz;
        }
    }
    uint64_t address = 0, size = 0;
    bool is_now = !dynamic;
    for (; dynamic && dynamic->d_tag != DT_NULL; dynamic++) {
        address = dynamic->d_tag == DT_JMPREL ? dynamic->d_un.d_ptr : address;
        size = dynamic->d_tag == DT_PLTRELSZ ? dynamic->d_un.d_val : size;
        is_now |= dynamic->d_tag == DT_BIND_NOW || (dynamic->d_tag == DT_FLAGS && dynamic->d_un.d_val & DF_BIND_NOW) ||
                  (dynamic->d_tag == DT_FLAGS_1 && dynamic->d_un.d_val & DF_1_NOW);
    }
    if (!is_now && address >= info->dlpi_addr) { /* the vDSO's stays as it is in the file */
        slots.relocs = (const Elf64_Rela *)address;
        slots.count = size / sizeof *slots.relocs;
    }
    return slots;
}

static int visit(struct dl_phdr_info *info, size_t size, void *context)
{
    const struct rebinding *rebinding = context;
    struct slots slots = find_slots(info);
    (void)size;
    for (size_t i = 0; i < slots.count; i++) {
        uint64_t place = slots.bias + slots.relocs[i].r_offset;
        uint64_t *slot = (uint64_t *)place;
        bool is_read_only = place >= slots.relro_start && place < slots.relro_end;
        if (ELF64_R_TYPE(slots.relocs[i].r_info) == R_X86_64_JUMP_SLOT && !is_read_only &&
            __atomic_load_n(slot, __ATOMIC_RELAXED) == rebinding->stub)
            __atomic_store_n(slot, rebinding->target, __ATOMIC_RELEASE);
    }
    return 0;
}

void rebind_calls(uint64_t stub, uint64_t target)
{
    struct rebinding rebinding = {stub, target};
    int (*iterate)(int (*)(struct dl_phdr_info *, size_t, void *), void *) =
        (int (*)(int (*)(struct dl_phdr_info *, size_t, void *), void *))next_function("dl_iterate_phdr");
    if (iterate)
        (void)iterate(visit, &rebinding);
}
