#include "linker/scan.h"

#include <string.h>

#include "linker/eh_frame.h"
#include "linker/function.h"
#include "linker/output.h"
#include "linker/patch.h"

/* The relocation that is being looked at. */
struct scanning {
    struct link *link;
    struct link_section *section;
    const Elf64_Rela *reloc;
    uint64_t rva; /* of the place; or LINK_SCANNING */
    struct link_reference *ref;
};

static struct crateld_error *place_error(const struct scanning *s, enum crateld_error_code code, const char *what)
{
    return error_create(code, "%s: %s+0x%llx: %s against '%s': %s", s->section->object->path, s->section->name,
                        (unsigned long long)s->reloc->r_offset, s->ref->howto->name, s->ref->symbol->name, what);
}

/* Whether the place is the operand of a direct call, jump or conditional jump. */
static bool is_branch_operand(const struct scanning *s)
{
    return s->link->machine->is_branch(s->section->data, s->reloc->r_offset);
}

/* Imports. */

/* Of a patch's imports: whether the base has them, or patches. */
static uint8_t base_flags(const struct link_symbol *symbol)
{
    return symbol->is_fresh ? CRATE_IMPORT_FLAG_FRESH : symbol->is_base ? CRATE_IMPORT_FLAG_BASE : 0;
}

static struct crateld_error *need_call(struct link *link, struct link_symbol *symbol, uint8_t kind, uint32_t *slot)
{
    uint32_t *known = kind == CRATE_IMPORT_CALL_TOC ? &symbol->call_toc : &symbol->call_plain;
    if (!*known) {
        uint8_t flags = base_flags(symbol);
        struct link_import import = {symbol, (uint32_t)link->function_imports.count, kind, flags, 0};
        if (!VEC_PUSH(&link->function_imports, import))
            return error_memory();
        *known = (uint32_t)link->function_imports.count;
    }
    *slot = *known - 1;
    return NULL;
}

/* A local IFUNC has one slot for all. Its slots come behind those of calls, so a slot is known after the scan only. */
static struct crateld_error *need_ifunc(struct link *link, struct link_symbol *symbol, uint32_t *slot)
{
    if (!symbol->call_plain) {
        struct link_import import = {symbol, 0, CRATE_IMPORT_IFUNC, 0, 0};
        if (!VEC_PUSH(&link->ifunc_imports, import))
            return error_memory();
        symbol->call_plain = (uint32_t)link->ifunc_imports.count;
    }
    *slot = link->lazy_count + symbol->call_plain - 1;
    return NULL;
}

/* A function slot for calls to `symbol` from TOC code or plain code. */
static struct crateld_error *need_call_from(struct link *link, struct link_symbol *symbol, bool is_toc, uint32_t *slot)
{
    if (symbol->state == LINK_SYMBOL_DEFINED)
        return need_ifunc(link, symbol, slot);
    return need_call(link, symbol, is_toc ? CRATE_IMPORT_CALL_TOC : CRATE_IMPORT_CALL_PLAIN, slot);
}

/* Adds an import that fills global slots from `slot` on. */
static struct crateld_error *add_global_import(struct link *link, struct link_symbol *symbol, uint32_t slot,
                                               uint8_t kind, uint8_t flags)
{
    struct link_import import = {symbol, slot, kind, flags, 0};
    return VEC_PUSH(&link->global_imports, import) ? NULL : error_memory();
}

static uint32_t take_global_slots(struct link *link, uint32_t count)
{
    uint32_t slot = link->global_slot_count;
    link->global_slot_count += count;
    return slot;
}

static bool is_import(const struct link *link, const struct link_symbol *symbol)
{
    return (symbol->state == LINK_SYMBOL_IMPORTED && !symbol->has_canonical_stub) || symbol->is_vague ||
           (symbol->state == LINK_SYMBOL_UNDEFINED && symbol->is_strongly_referenced && link->options->allow_undefined);
}

/* A global slot that holds the symbol's address. */
static struct crateld_error *need_address(struct link *link, struct link_symbol *symbol, uint32_t *slot)
{
    if (!symbol->address) {
        uint32_t taken = take_global_slots(link, 1);
        if (is_import(link, symbol)) {
            uint8_t flags = base_flags(symbol);
            TRY(add_global_import(link, symbol, taken, CRATE_IMPORT_ADDRESS, flags));
        } else {
            struct link_constant_slot constant = {symbol, taken};
            if (!VEC_PUSH(&link->constant_slots, constant))
                return error_memory();
        }
        symbol->address = taken + 1;
    }
    *slot = symbol->address - 1;
    return NULL;
}

static uint8_t tls_flags(const struct link_symbol *symbol)
{
    if (symbol->is_base)
        return base_flags(symbol);
    return symbol->state == LINK_SYMBOL_DEFINED && !symbol->is_vague ? CRATE_IMPORT_FLAG_SELF : 0;
}

static struct crateld_error *need_tls_offset(struct link *link, struct link_symbol *symbol, uint32_t *slot)
{
    link->flags |= CRATE_FLAG_STATIC_TLS;
    if (!symbol->tls_offset) {
        uint32_t taken = take_global_slots(link, 1);
        TRY(add_global_import(link, symbol, taken, CRATE_IMPORT_TLS_OFFSET, tls_flags(symbol)));
        symbol->tls_offset = taken + 1;
    }
    *slot = symbol->tls_offset - 1;
    return NULL;
}

static struct crateld_error *need_tls_index(struct link *link, struct link_symbol *symbol, uint32_t *slot)
{
    if (!symbol->tls_index) {
        uint32_t taken = take_global_slots(link, 2);
        TRY(add_global_import(link, symbol, taken, CRATE_IMPORT_TLS_INDEX, tls_flags(symbol)));
        symbol->tls_index = taken + 1;
    }
    *slot = symbol->tls_index - 1;
    return NULL;
}

static struct crateld_error *need_tls_block(struct link *link, uint32_t *slot)
{
    if (!link->tls_block_slot) {
        uint32_t taken = take_global_slots(link, 2);
        struct link_symbol *block = link->patch ? link_patch_tls_block(link) : NULL;
        TRY(add_global_import(link, block, taken, CRATE_IMPORT_TLS_INDEX,
                              block ? CRATE_IMPORT_FLAG_BASE : CRATE_IMPORT_FLAG_SELF));
        link->tls_block_slot = taken + 1;
    }
    *slot = link->tls_block_slot - 1;
    return NULL;
}

/* Functions. */

bool link_function_has_stub(const struct link *link, const struct link_function *function)
{
    return function->section->is_toc ? function->has_record : link->options->keep_relink && !function->is_leaked;
}

/* If S + A + `bias` is the exact start of one of the crate's functions whose address is an entry stub: that function,
 * which gets its stub. Else NULL. */
static struct crateld_error *stubbed_function(const struct scanning *s, int64_t bias, struct link_function **ret)
{
    struct link_symbol *symbol = s->ref->symbol;
    *ret = NULL;
    if (symbol->state != LINK_SYMBOL_DEFINED || !(symbol->section->flags & SHF_EXECINSTR) ||
        symbol->section->object == &s->link->own)
        return NULL;
    uint64_t value = symbol->value + (uint64_t)s->reloc->r_addend + (uint64_t)bias;
    bool is_start = symbol->type == STT_FUNC && value == symbol->value;
    if (!is_start)
        TRY(link_function_is_start(s->link, symbol->section, value, &is_start));
    if (!is_start)
        return NULL;
    struct link_function *function;
    TRY(value == symbol->value ? link_function_enter_symbol(s->link, symbol, &function)
                               : link_function_enter(s->link, symbol->section, value, &function));
    if (!link_function_has_stub(s->link, function))
        return NULL;
    *ret = function;
    return link_function_need_stub(s->link, function);
}

/* Undefined symbols. */

static struct crateld_error *note_undefined(struct link *link, const struct scanning *s)
{
    struct link_symbol *symbol = s->ref->symbol;
    if (symbol->is_reported) {
        for (size_t i = 0; i < link->undefined.count; i++)
            if (link->undefined.at[i].symbol == symbol)
                link->undefined.at[i].more++;
        return NULL;
    }
    symbol->is_reported = true;
    struct link_undefined undefined = {symbol, s->section, s->reloc->r_offset, 0};
    return VEC_PUSH(&link->undefined, undefined) ? NULL : error_memory();
}

/* Whether the symbol has no definition and may not be left to the loader; it is noted then. */
static struct crateld_error *check_undefined(const struct scanning *s, bool *ret)
{
    const struct link_symbol *symbol = s->ref->symbol;
    *ret = false;
    if (symbol->state != LINK_SYMBOL_UNDEFINED || !ELF64_R_SYM(s->reloc->r_info))
        return NULL;
    if (symbol->is_local) {
        *ret = true;
        return place_error(s, CRATELD_ERROR_UNDEFINED,
                           "it is local to a section that was dropped with its COMDAT group");
    }
    bool is_imported =
        symbol->is_strongly_referenced && s->link->options->allow_undefined && symbol->visibility == STV_DEFAULT;
    if (!symbol->is_strongly_referenced || is_imported)
        return NULL;
    *ret = true;
    return note_undefined(s->link, s);
}

/* Places for the loader. */

/* Leaves the place to the loader. The scan counts such places, emission lists them with their rvas. */
static struct crateld_error *add_fixup(const struct scanning *s, struct link_symbol *symbol, uint32_t kind)
{
    struct link_loader_place fixup = {s->rva, symbol, s->reloc->r_addend, kind};
    s->ref->action = LINK_ACTION_LOADER;
    if (s->rva != LINK_SCANNING)
        return VEC_PUSH(&s->link->fixups, fixup) ? NULL : error_memory();
    if (s->section->flags & SHF_EXECINSTR)
        s->link->flags |= CRATE_FLAG_TEXT_FIXUPS;
    s->link->fixup_count++;
    return NULL;
}

/* Notes that the place, whose contents are right at the preferred base, moves with the crate. Its target is filled in
 * by emission. */
static struct crateld_error *add_own_fixup(const struct scanning *s, uint32_t kind)
{
    uint8_t action = s->ref->action;
    TRY(add_fixup(s, NULL, kind));
    s->ref->action = action;
    s->ref->has_own_fixup = true;
    return NULL;
}

/* A word that the loader relocates by the RELR table. */
static struct crateld_error *add_relr(const struct scanning *s)
{
    s->ref->is_relr = true;
    if (s->rva == LINK_SCANNING)
        s->section->relr_count++;
    return NULL;
}

/* A word that the loader sets to the address of an import. */
static struct crateld_error *add_data_reloc(const struct scanning *s)
{
    struct link_symbol *symbol = s->ref->symbol;
    struct link_loader_place place = {s->rva, symbol, s->reloc->r_addend, 0};
    s->ref->action = LINK_ACTION_LOADER;
    TRY(need_address(s->link, symbol, &s->ref->slot));
    if (s->rva != LINK_SCANNING)
        return VEC_PUSH(&s->link->data_relocs, place) ? NULL : error_memory();
    s->link->data_reloc_count++;
    return NULL;
}

/* A fixup that needs the address of an import in a slot. */
static struct crateld_error *add_import_fixup(const struct scanning *s, uint32_t kind)
{
    uint32_t slot;
    TRY(need_address(s->link, s->ref->symbol, &slot));
    return add_fixup(s, s->ref->symbol, kind);
}

/* Formulas. Each sets ref->action, and makes what the action needs. */

static bool is_function_type(const struct link_symbol *symbol)
{
    return symbol->type == STT_FUNC || symbol->type == STT_GNU_IFUNC;
}

static bool is_thread_local(const struct link_symbol *symbol)
{
    return symbol->state == LINK_SYMBOL_DEFINED && (symbol->section->flags & SHF_TLS);
}

static bool is_local_ifunc(const struct link_symbol *symbol)
{
    return symbol->state == LINK_SYMBOL_DEFINED && symbol->type == STT_GNU_IFUNC;
}

/* Direct access to a function elsewhere, or to a local IFUNC: its import stub stands for it. */
static struct crateld_error *use_import_stub(const struct scanning *s)
{
    bool is_toc = s->section->is_toc && is_branch_operand(s);
    s->ref->action = LINK_ACTION_IMPORT_STUB;
    return need_call_from(s->link, s->ref->symbol, is_toc, &s->ref->slot);
}

/* A branch of a patch into its base, which is within reach. */
static struct crateld_error *add_base_branch(const struct scanning *s)
{
    if (s->ref->howto->size != 4)
        return place_error(s, CRATELD_ERROR_UNSUPPORTED, "a branch into the base of 8 or 16 bits");
    return add_import_fixup(s, CRATE_FIXUP_PC32);
}

static struct crateld_error *scan_branch(const struct scanning *s)
{
    struct link_symbol *symbol = s->ref->symbol;
    if (symbol->is_base)
        return add_base_branch(s);
    if (symbol->state == LINK_SYMBOL_IMPORTED || symbol->state == LINK_SYMBOL_UNDEFINED || is_local_ifunc(symbol))
        return use_import_stub(s);
    s->ref->action = LINK_ACTION_VALUE;
    /* Plain code enters TOC code by the entry that preserves the TOC register. */
    if (!s->section->is_toc && symbol->state == LINK_SYMBOL_DEFINED && symbol->section->is_toc) {
        TRY(stubbed_function(s, s->link->machine->operand_bias, &s->ref->function));
        if (s->ref->function)
            s->ref->action = LINK_ACTION_ENTRY_STUB;
    }
    return NULL;
}

/* Whether references from this section to the start of a function take its address: from code, and from data, but not
 * from unwind tables and tables of labels. */
static bool takes_addresses(const struct scanning *s)
{
    return s->section->kind == LINK_SECTION_PLAIN && strncmp(s->section->name, ".gcc_except_table", 17) != 0;
}

/* Whether a direct reference to the vague symbol must be to the copy that wins, for the loader to say which: to
 * variables, as nobody sees which copy of a constant (type information, vtables) is used. The program's own copy always
 * wins, but over an ELF library's. */
static bool may_be_elsewhere(const struct link *link, const struct link_symbol *symbol)
{
    if (!symbol->is_vague || !(symbol->section->flags & SHF_WRITE) ||
        !strcmp(link_output_name(symbol->section), ".data.rel.ro"))
        return false;
    bool is_program = link->entry && link->entry->state == LINK_SYMBOL_DEFINED;
    return !is_program || symbol->provider < link->providers.count;
}

static struct crateld_error *scan_relative(const struct scanning *s)
{
    struct link_symbol *symbol = s->ref->symbol;
    bool is_code = s->section->flags & SHF_EXECINSTR;
    if (is_code && s->ref->howto->size == 4 && is_branch_operand(s))
        return scan_branch(s);
    if (s->ref->howto->size == 4 && may_be_elsewhere(s->link, symbol)) {
        s->link->flags |= CRATE_FLAG_NEAR;
        return add_import_fixup(s, CRATE_FIXUP_PC32);
    }
    if (is_local_ifunc(symbol))
        return use_import_stub(s);
    if (symbol->state == LINK_SYMBOL_IMPORTED || symbol->state == LINK_SYMBOL_UNDEFINED) {
        if (symbol->has_canonical_stub)
            return use_import_stub(s);
        if (s->ref->howto->size != 4)
            return place_error(s, CRATELD_ERROR_UNSUPPORTED, "it is not defined here; compile with -fPIC");
        if (!is_import(s->link, symbol))
            return place_error(s, CRATELD_ERROR_UNSUPPORTED,
                               "an undefined weak symbol is addressed directly; compile with -fPIC");
        s->link->flags |= CRATE_FLAG_NEAR;
        return add_import_fixup(s, CRATE_FIXUP_PC32);
    }
    s->ref->action = LINK_ACTION_VALUE;
    if (is_code && s->ref->howto->size == 4)
        TRY(stubbed_function(s, s->link->machine->operand_bias, &s->ref->function));
    if (s->ref->function)
        s->ref->action = LINK_ACTION_ENTRY_STUB;
    else if (symbol->state == LINK_SYMBOL_ABSOLUTE)
        return place_error(s, CRATELD_ERROR_UNSUPPORTED,
                           "an absolute symbol is addressed relative to the instruction; compile with -fPIC");
    return NULL;
}

/* 64-bit words: RELR, or a data relocation. */
static struct crateld_error *scan_word(const struct scanning *s)
{
    struct link_symbol *symbol = s->ref->symbol;
    bool is_code = s->section->flags & SHF_EXECINSTR;
    bool is_aligned = s->reloc->r_offset % 8 == 0 && s->section->align_log2 >= 3;
    if (symbol->state == LINK_SYMBOL_ABSOLUTE ||
        (symbol->state == LINK_SYMBOL_UNDEFINED && !is_import(s->link, symbol))) {
        s->ref->action = LINK_ACTION_VALUE;
        return NULL;
    }
    if (!is_code && !(s->section->flags & SHF_WRITE) && s->section->kind == LINK_SECTION_PLAIN)
        s->section->is_relocated_at_load = true;
    bool needs_fixup = is_code || !is_aligned || s->section->kind != LINK_SECTION_PLAIN;
    if (is_import(s->link, symbol)) {
        return needs_fixup ? add_import_fixup(s, CRATE_FIXUP_ABS64) : add_data_reloc(s);
    }
    if (is_local_ifunc(symbol) || symbol->has_canonical_stub) {
        TRY(use_import_stub(s));
    } else {
        s->ref->action = LINK_ACTION_VALUE;
        if (takes_addresses(s))
            TRY(stubbed_function(s, 0, &s->ref->function));
        if (s->ref->function)
            s->ref->action = LINK_ACTION_ENTRY_STUB;
    }
    return needs_fixup ? add_own_fixup(s, CRATE_FIXUP_ABS64) : add_relr(s);
}

/* 32-bit absolute addresses: the crate must lie below 2 GiB. */
static struct crateld_error *scan_absolute(const struct scanning *s)
{
    struct link_symbol *symbol = s->ref->symbol;
    if (s->ref->howto->size == 8)
        return scan_word(s);
    s->ref->action = LINK_ACTION_VALUE;
    if (symbol->state == LINK_SYMBOL_ABSOLUTE ||
        (symbol->state == LINK_SYMBOL_UNDEFINED && !is_import(s->link, symbol)))
        return NULL;
    if (s->ref->howto->size != 4)
        return place_error(s, CRATELD_ERROR_UNSUPPORTED, "an address does not fit; compile with -fPIC");
    s->link->flags |= CRATE_FLAG_LOW;
    uint32_t kind = s->ref->howto->range == RELOC_RANGE_SIGNED ? CRATE_FIXUP_ABS32S : CRATE_FIXUP_ABS32;
    if (symbol->has_canonical_stub || is_local_ifunc(symbol)) {
        TRY(use_import_stub(s));
    } else if (is_import(s->link, symbol)) {
        return add_import_fixup(s, kind);
    } else {
        if (takes_addresses(s))
            TRY(stubbed_function(s, 0, &s->ref->function));
        if (s->ref->function)
            s->ref->action = LINK_ACTION_ENTRY_STUB;
    }
    return add_own_fixup(s, kind);
}

/* call *f@GOTPCREL(%rip), jmp *f@GOTPCREL(%rip). */
static struct crateld_error *scan_indirect_branch(const struct scanning *s)
{
    struct link_symbol *symbol = s->ref->symbol;
    bool can_relax = s->ref->howto->formula == RELOC_SLOT_RELAX;
    bool is_elsewhere = symbol->state == LINK_SYMBOL_IMPORTED || symbol->state == LINK_SYMBOL_UNDEFINED;
    if (is_elsewhere || is_local_ifunc(symbol)) {
        bool is_stub_toc = s->section->is_toc && can_relax;
        TRY(need_call_from(s->link, symbol, is_stub_toc, &s->ref->slot));
        s->ref->action = can_relax ? LINK_ACTION_RELAX_CALL : LINK_ACTION_CALL_SLOT;
        s->ref->uses_import_stub = true;
        return NULL;
    }
    if (!can_relax || symbol->state != LINK_SYMBOL_DEFINED) {
        s->ref->action = LINK_ACTION_SLOT;
        return need_address(s->link, symbol, &s->ref->slot);
    }
    s->ref->action = LINK_ACTION_RELAX_CALL;
    if (!s->section->is_toc && symbol->section->is_toc) {
        TRY(stubbed_function(s, s->link->machine->operand_bias, &s->ref->function));
        s->ref->uses_stub = s->ref->function != NULL;
    }
    return NULL;
}

static struct crateld_error *scan_slot(const struct scanning *s)
{
    struct link_symbol *symbol = s->ref->symbol;
    const struct reloc_machine *machine = s->link->machine;
    bool means_symbol = s->reloc->r_addend == -machine->operand_bias;
    bool is_load =
        s->ref->howto->formula == RELOC_SLOT_RELAX && machine->is_slot_load(s->section->data, s->reloc->r_offset);
    if (means_symbol && machine->is_slot_branch(s->section->data, s->reloc->r_offset))
        return scan_indirect_branch(s);
    if (is_load && means_symbol && symbol->state == LINK_SYMBOL_DEFINED && !symbol->is_vague &&
        !is_local_ifunc(symbol)) {
        TRY(stubbed_function(s, s->link->machine->operand_bias, &s->ref->function));
        s->ref->uses_stub = s->ref->function != NULL;
        s->ref->action = LINK_ACTION_RELAX_LOAD;
        return NULL;
    }
    s->ref->action = LINK_ACTION_SLOT;
    if (is_local_ifunc(symbol))
        TRY(need_ifunc(s->link, symbol, &s->ref->slot));
    if (symbol->state == LINK_SYMBOL_DEFINED && !symbol->is_vague && is_function_type(symbol)) {
        struct link_function *function;
        TRY(link_function_enter(s->link, symbol->section, symbol->value, &function));
        if (link_function_has_stub(s->link, function))
            TRY(link_function_need_stub(s->link, function));
    }
    return need_address(s->link, symbol, &s->ref->slot);
}

static struct crateld_error *scan_local_exec(const struct scanning *s)
{
    struct link_symbol *symbol = s->ref->symbol;
    if (s->ref->howto->size != 4)
        return place_error(s, CRATELD_ERROR_UNSUPPORTED, "64-bit local-exec thread-locals; compile with -fPIC");
    s->link->flags |= CRATE_FLAG_STATIC_TLS;
    if (symbol->state == LINK_SYMBOL_DEFINED && !symbol->is_vague)
        return add_fixup(s, NULL, CRATE_FIXUP_TPOFF32);
    uint32_t slot;
    TRY(need_tls_offset(s->link, symbol, &slot));
    return add_fixup(s, symbol, CRATE_FIXUP_TPOFF32);
}

static struct crateld_error *scan_tls(const struct scanning *s)
{
    struct link_symbol *symbol = s->ref->symbol;
    bool is_own = symbol->state == LINK_SYMBOL_DEFINED || symbol->state == LINK_SYMBOL_ABSOLUTE;
    if (is_own && s->ref->howto->formula != RELOC_TLS_LD && !is_thread_local(symbol))
        return place_error(s, CRATELD_ERROR_FORMAT, "it is defined as no thread-local");
    s->ref->action = LINK_ACTION_SLOT;
    switch (s->ref->howto->formula) {
    case RELOC_TLS_LD:
        return need_tls_block(s->link, &s->ref->slot);
    case RELOC_TLS_GD:
        return need_tls_index(s->link, symbol, &s->ref->slot);
    case RELOC_TLS_IE:
        return need_tls_offset(s->link, symbol, &s->ref->slot);
    case RELOC_TLS_DESC:
        s->ref->action = LINK_ACTION_TLS_DESC;
        if (!s->link->machine->is_tls_desc(s->section->data, s->reloc->r_offset))
            return place_error(s, CRATELD_ERROR_UNSUPPORTED,
                               "the instruction is not one that takes the address of a descriptor");
        return need_tls_offset(s->link, symbol, &s->ref->slot);
    case RELOC_TLS_DESC_CALL:
        s->ref->action = LINK_ACTION_TLS_DESC_CALL;
        return NULL;
    case RELOC_TLS_LE:
        return scan_local_exec(s);
    default: /* RELOC_TLS_BLOCK */
        s->ref->action = LINK_ACTION_VALUE;
        if (symbol->is_base && !symbol->is_fresh)
            return NULL;
        if (s->link->patch)
            return place_error(
                s, CRATELD_ERROR_UNSUPPORTED,
                "a new thread-local is not in the block that the base has of them: declare it extern, not static");
        if (symbol->state != LINK_SYMBOL_DEFINED)
            return place_error(s, CRATELD_ERROR_UNSUPPORTED, "a local-dynamic reference to another crate's variable");
        return NULL;
    }
}

static bool is_tls_formula(uint8_t formula)
{
    return formula >= RELOC_TLS_LE && formula <= RELOC_TLS_DESC_CALL;
}

/* Medium and large model: slots and symbols relative to the TOC. */
static struct crateld_error *scan_base(const struct scanning *s)
{
    struct link_symbol *symbol = s->ref->symbol;
    s->ref->action = LINK_ACTION_VALUE;
    switch (s->ref->howto->formula) {
    case RELOC_SLOT_OFFSET:
        s->ref->action = LINK_ACTION_SLOT;
        return need_address(s->link, symbol, &s->ref->slot);
    case RELOC_BRANCH_OFFSET:
        if (symbol->state != LINK_SYMBOL_DEFINED || is_local_ifunc(symbol))
            return use_import_stub(s);
        return NULL;
    case RELOC_BASE_OFFSET:
        if (symbol->state != LINK_SYMBOL_DEFINED)
            return place_error(s, CRATELD_ERROR_UNSUPPORTED, "it is not defined here");
        TRY(stubbed_function(s, 0, &s->ref->function));
        if (s->ref->function)
            s->ref->action = LINK_ACTION_ENTRY_STUB;
        return NULL;
    default:
        return NULL;
    }
}

/* In a patch a function's address is the one that it has in the base. *meant is the relocation as one of that. */
static struct crateld_error *find_patch_target(struct scanning *s, Elf64_Rela *meant)
{
    const struct reloc_machine *machine = s->link->machine;
    uint8_t formula = s->ref->howto->formula;
    bool is_code = s->section->flags & SHF_EXECINSTR, is_slot = formula == RELOC_SLOT || formula == RELOC_SLOT_RELAX;
    /* In data distances are those of tables of jumps. */
    bool is_distance = formula == RELOC_RELATIVE && !is_code;
    bool is_branch = formula == RELOC_BRANCH || !takes_addresses(s) || is_distance ||
                     (is_code && is_branch_operand(s)) ||
                     (is_slot && machine->is_slot_branch(s->section->data, s->reloc->r_offset));
    int64_t bias = is_slot || (is_code && formula == RELOC_RELATIVE) ? machine->operand_bias : 0;
    uint64_t value = s->ref->symbol->value + (uint64_t)s->reloc->r_addend + (uint64_t)bias;
    struct link_patch_target target;
    TRY(link_patch_target(s->link, s->section, s->ref->symbol, value, is_branch, &target));
    *meant = *s->reloc;
    meant->r_addend -= (int64_t)target.distance;
    s->reloc = meant;
    s->ref->symbol = target.symbol;
    return NULL;
}

struct crateld_error *link_reference_of(struct link *link, struct link_section *section, const Elf64_Rela *reloc,
                                        uint64_t rva, struct link_reference *ret)
{
    struct scanning s = {link, section, reloc, rva, ret};
    Elf64_Rela meant;
    *ret = (struct link_reference){
        .howto = link->machine->howto((uint32_t)ELF64_R_TYPE(reloc->r_info)),
        .symbol = section->object->symbols[ELF64_R_SYM(reloc->r_info)],
        .action = LINK_ACTION_NONE,
    };
    if (ret->howto->formula == RELOC_NOTHING)
        return NULL;
    if (link->patch)
        TRY(find_patch_target(&s, &meant));
    if (reloc->r_offset + ret->howto->size > section->size)
        return place_error(&s, CRATELD_ERROR_FORMAT, "the place lies outside the section");
    if (section->type == SHT_NOBITS)
        return place_error(&s, CRATELD_ERROR_FORMAT, "a section without contents is relocated");
    if (ret->symbol->state == LINK_SYMBOL_DEFINED && !link_section_is_loaded(ret->symbol->section))
        return place_error(&s, CRATELD_ERROR_UNSUPPORTED, "it is in a section that is not loaded");
    bool is_undefined;
    TRY(check_undefined(&s, &is_undefined));
    if (is_undefined)
        return NULL;
    if (is_tls_formula(ret->howto->formula))
        return scan_tls(&s);
    if (is_thread_local(ret->symbol) && ret->howto->formula != RELOC_SIZE)
        return place_error(&s, CRATELD_ERROR_FORMAT, "it is defined as a thread-local");
    switch (ret->howto->formula) {
    case RELOC_ABSOLUTE:
        return scan_absolute(&s);
    case RELOC_RELATIVE:
        return scan_relative(&s);
    case RELOC_BRANCH:
        return scan_branch(&s);
    case RELOC_SLOT:
    case RELOC_SLOT_RELAX:
        return scan_slot(&s);
    case RELOC_SIZE:
        ret->action = LINK_ACTION_VALUE;
        return NULL;
    case RELOC_BASE_OFFSET:
    case RELOC_BASE_RELATIVE:
    case RELOC_SLOT_OFFSET:
    case RELOC_BRANCH_OFFSET:
        return scan_base(&s);
    case RELOC_DYNAMIC:
        return place_error(&s, CRATELD_ERROR_FORMAT, "a relocation of linked files in an object");
    default:
        return error_create(CRATELD_ERROR_UNSUPPORTED,
                            "%s: %s+0x%llx: relocation type %u (%s) against '%s' is not supported%s",
                            section->object->path, section->name, (unsigned long long)reloc->r_offset,
                            (unsigned)ELF64_R_TYPE(reloc->r_info), ret->howto->name, ret->symbol->name,
                            ret->howto->formula == RELOC_UNSUPPORTED ? "; compile without -mapxf" : "");
    }
}

struct crateld_error *link_scan_relocs(struct link *link, struct link_section *section, uint32_t first, uint32_t count)
{
    if (!section->decisions && count) {
        section->decisions = arena_alloc(&link->arena, section->reloc_count);
        if (!section->decisions)
            return error_memory();
    }
    for (uint32_t i = first; i < first + count; i++) {
        struct link_reference ref = {0};
        /* Of the calls that were decided ahead none is made yet: that goes by their order. */
        if (section->decisions[i] && section->decisions[i] != LINK_ACTION_IMPORT_STUB)
            continue;
        struct crateld_error *error = link_reference_of(link, section, &section->relocs[i], LINK_SCANNING, &ref);
        if (error && crateld_error_code(error) == CRATELD_ERROR_MEMORY)
            return error;
        link_report(link, error);
        section->decisions[i] = link_decision(&ref);
    }
    return NULL;
}

static struct crateld_error *scan_section(struct link *link, struct link_section *section)
{
    return link_scan_relocs(link, section, 0, section->reloc_count);
}

static struct crateld_error *scan_object(struct link *link, struct link_object *object)
{
    uint32_t slot;
    if (object->is_scanned) {
        for (size_t i = 0; i < object->calls.count; i++)
            TRY(need_call(link, object->calls.at[i], CRATE_IMPORT_CALL_PLAIN, &slot));
        return NULL;
    }
    for (uint32_t i = 1; i < object->section_count; i++)
        if (object->sections[i].kind == LINK_SECTION_PLAIN && object->sections[i].is_live)
            TRY(scan_section(link, &object->sections[i]));
    return NULL;
}

/* Another crate may take their address. */
struct crateld_error *link_scan_exports(struct link *link)
{
    enum { AHEAD = 8 };
    for (size_t i = 0; i < link->symbols.count; i++) {
        struct link_symbol *symbol = link->symbols.at[i];
        if (i + 2 * AHEAD < link->symbols.count) {
            __builtin_prefetch(link->symbols.at[i + 2 * AHEAD]);
            __builtin_prefetch(link->symbols.at[i + AHEAD]->section);
        }
        bool is_wanted = symbol->is_exported || symbol == link->entry;
        if (!is_wanted || symbol->state != LINK_SYMBOL_DEFINED || !is_function_type(symbol) ||
            !symbol->section->is_live)
            continue;
        uint32_t slot;
        if (is_local_ifunc(symbol)) {
            TRY(need_ifunc(link, symbol, &slot));
            continue;
        }
        struct link_function *function;
        TRY(link_function_enter_symbol(link, symbol, &function));
        if (link->patch)
            TRY(link_patch_enter_function(link, symbol));
        if (link_function_has_stub(link, function))
            TRY(link_function_need_stub(link, function));
    }
    return NULL;
}

/* Vague symbols are imported even where nothing here refers to them through a slot: the process-wide table has to learn
 * of this crate's copy, and the export has to tell which copy won. */
static struct crateld_error *scan_vague(struct link *link)
{
    uint32_t slot;
    for (size_t i = 0; i < link->symbols.count; i++) {
        struct link_symbol *symbol = link->symbols.at[i];
        if (!symbol->is_vague || !symbol->section->is_live)
            continue;
        if (symbol->type == STT_TLS)
            TRY(need_tls_index(link, symbol, &slot));
        else
            TRY(need_address(link, symbol, &slot));
    }
    return NULL;
}

/* Entry stubs of TOC code in a patch load their base's TOC. */
static struct crateld_error *scan_entry_stubs(struct link *link)
{
    bool has_toc = false;
    uint32_t slot;
    for (size_t i = 0; i < link->func_refs.count; i++)
        has_toc |= link->func_refs.at[i]->section->is_toc;
    if (!link->patch || !has_toc)
        return NULL;
    struct link_symbol *toc = link_patch_toc(link);
    if (!toc)
        return error_memory();
    TRY(need_address(link, toc, &slot));
    link->patch_toc_slot = slot + 1;
    return NULL;
}

/* Puts the local IFUNCs' slots behind those of lazily bound calls. */
static struct crateld_error *append_ifuncs(struct link *link)
{
    link->lazy_count = (uint32_t)link->function_imports.count;
    for (size_t i = 0; i < link->ifunc_imports.count; i++) {
        struct link_import import = link->ifunc_imports.at[i];
        import.slot = (uint32_t)link->function_imports.count;
        if (!VEC_PUSH(&link->function_imports, import))
            return error_memory();
    }
    return NULL;
}

struct crateld_error *link_scan(struct link *link)
{
    for (size_t i = 0; i < link->objects.count; i++)
        TRY(scan_object(link, link->objects.at[i]));
    for (size_t i = 0; i < link->own_sections.count; i++)
        TRY(scan_section(link, link->own_sections.at[i]));
    TRY(link_eh_frame_scan(link));
    TRY(scan_vague(link));
    TRY(scan_entry_stubs(link));
    return append_ifuncs(link);
}
