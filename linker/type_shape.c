#include "linker/type_shape.h"

#include <dwarf.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_NAMES = 64,      /* typedefs and qualifiers around one type; pointers to pointers */
    MAX_MEMBERS = 65536, /* of one type: damaged ones may refer to each other in circles */
};

static bool get_type(Dwarf_Die *die, int attribute_name, Dwarf_Die *ret)
{
    Dwarf_Attribute attribute;
    Dwarf_Die found;
    if (!dwarf_attr_integrate(die, (unsigned)attribute_name, &attribute) || !dwarf_formref_die(&attribute, &found))
        return false;
    *ret = found;
    return true;
}

static uint64_t get_number(Dwarf_Die *die, unsigned name, uint64_t otherwise)
{
    Dwarf_Attribute attribute;
    Dwarf_Word word;
    return dwarf_attr(die, name, &attribute) && dwarf_formudata(&attribute, &word) == 0 ? word : otherwise;
}

static bool get_flag(Dwarf_Die *die, unsigned name)
{
    Dwarf_Attribute attribute;
    bool is_set = false;
    return dwarf_attr(die, name, &attribute) && dwarf_formflag(&attribute, &is_set) == 0 && is_set;
}

static bool is_name_or_qualifier(int tag)
{
    switch (tag) {
    case DW_TAG_typedef:
    case DW_TAG_const_type:
    case DW_TAG_volatile_type:
    case DW_TAG_restrict_type:
    case DW_TAG_atomic_type:
    case DW_TAG_immutable_type:
    case DW_TAG_packed_type:
    case DW_TAG_template_alias:
        return true;
    default:
        return false;
    }
}

static enum type_kind kind_of(int tag)
{
    switch (tag) {
    case DW_TAG_base_type:
        return TYPE_BASE;
    case DW_TAG_enumeration_type:
        return TYPE_ENUM;
    case DW_TAG_structure_type:
    case DW_TAG_class_type:
    case DW_TAG_interface_type:
        return TYPE_RECORD;
    case DW_TAG_union_type:
        return TYPE_UNION;
    case DW_TAG_array_type:
        return TYPE_ARRAY;
    case DW_TAG_pointer_type:
    case DW_TAG_reference_type:
    case DW_TAG_rvalue_reference_type:
        return TYPE_POINTER;
    case DW_TAG_ptr_to_member_type:
        return TYPE_MEMBER_POINTER;
    case DW_TAG_subroutine_type:
        return TYPE_FUNCTION;
    case DW_TAG_unspecified_type:
        return TYPE_OPAQUE;
    default:
        return TYPE_OTHER;
    }
}

struct type type_of(Dwarf_Die die)
{
    for (int i = 0; i < MAX_NAMES; i++) {
        int tag = dwarf_tag(&die);
        bool is_signed_for = dwarf_hasattr(&die, DW_AT_signature);
        if (is_signed_for && get_type(&die, DW_AT_signature, &die))
            continue;
        if (is_name_or_qualifier(tag)) {
            if (!get_type(&die, DW_AT_type, &die))
                return (struct type){.kind = TYPE_OPAQUE, .name = "void"};
            continue;
        }
        struct type type = {.kind = kind_of(tag), .die = die, .name = dwarf_diename(&die)};
        type.size = get_number(&die, DW_AT_byte_size, 0);
        type.encoding = get_number(&die, DW_AT_encoding, 0);
        if (is_signed_for || get_flag(&die, DW_AT_declaration))
            type.kind = TYPE_OPAQUE;
        return type;
    }
    return (struct type){.kind = TYPE_OTHER};
}

struct type type_target(const struct type *type)
{
    Dwarf_Die die = type->die, target;
    if (!get_type(&die, DW_AT_type, &target))
        return (struct type){.kind = TYPE_OPAQUE, .name = "void"};
    return type_of(target);
}

/* Members. */

/* Where a member is, in bits. */
static uint64_t bit_offset(Dwarf_Die *die, uint64_t bits)
{
    uint64_t at = 8 * get_number(die, DW_AT_data_member_location, 0);
    if (dwarf_hasattr(die, DW_AT_data_bit_offset))
        return get_number(die, DW_AT_data_bit_offset, 0);
    if (!dwarf_hasattr(die, DW_AT_bit_offset))
        return at;
    /* Before DWARF 4: counted from the high end of a storage unit. */
    uint64_t unit = 8 * get_number(die, DW_AT_byte_size, 0);
    if (!unit) {
        Dwarf_Die type = *die;
        unit = get_type(die, DW_AT_type, &type) ? 8 * type_of(type).size : 0;
    }
    return at + unit - get_number(die, DW_AT_bit_offset, 0) - bits;
}

/* The slot of a virtual function; -1 if it has none. */
static int64_t slot_of(Dwarf_Die *die)
{
    Dwarf_Attribute location;
    Dwarf_Op *operations;
    size_t count;
    if (!get_number(die, DW_AT_virtuality, 0) || !dwarf_attr(die, DW_AT_vtable_elem_location, &location))
        return -1;
    if (dwarf_getlocation(&location, &operations, &count) != 0 || count != 1)
        return -1;
    if (operations[0].atom >= DW_OP_lit0 && operations[0].atom <= DW_OP_lit31)
        return operations[0].atom - DW_OP_lit0;
    return operations[0].atom == DW_OP_constu ? (int64_t)operations[0].number : -1;
}

/* What the entry among the type's is; false if it has no part in the layout. */
static bool read_member(Dwarf_Die *die, struct type_member *ret)
{
    int tag = dwarf_tag(die);
    const char *name = dwarf_diename(die);
    *ret = (struct type_member){.name = name ? name : ""};
    if (tag == DW_TAG_subprogram) {
        int64_t slot = slot_of(die);
        ret->kind = MEMBER_FUNCTION;
        ret->at = (uint64_t)slot;
        return slot >= 0;
    }
    if (tag == DW_TAG_enumerator) {
        ret->kind = MEMBER_VALUE;
        ret->at = get_number(die, DW_AT_const_value, 0);
        return true;
    }
    bool is_static = get_flag(die, DW_AT_external) || get_flag(die, DW_AT_declaration);
    if ((tag != DW_TAG_member && tag != DW_TAG_inheritance) || is_static || !get_type(die, DW_AT_type, &ret->die))
        return false;
    ret->kind = tag == DW_TAG_member ? MEMBER_DATA : MEMBER_BASE;
    ret->size = get_number(die, DW_AT_bit_size, 0);
    ret->at = bit_offset(die, ret->size);
    if (tag == DW_TAG_inheritance) {
        Dwarf_Die base = ret->die;
        ret->name = dwarf_diename(&base) ? dwarf_diename(&base) : "";
    }
    return true;
}

struct crateld_error *type_members(const struct type *type, struct type_members *ret)
{
    Dwarf_Die die = type->die, child;
    int count = 0;
    if (!die.addr || dwarf_child(&die, &child) != 0)
        return NULL;
    do {
        struct type_member member;
        if (read_member(&child, &member) && !VEC_PUSH(&ret->list, member))
            return error_memory();
    } while (++count < MAX_MEMBERS && dwarf_siblingof(&child, &child) == 0);
    return NULL;
}

int type_dimensions(const struct type *type, uint64_t counts[TYPE_MAX_DIMENSIONS])
{
    Dwarf_Die die = type->die, child;
    int count = 0;
    if (dwarf_child(&die, &child) != 0)
        return 0;
    do {
        if (dwarf_tag(&child) != DW_TAG_subrange_type)
            continue;
        if (count == TYPE_MAX_DIMENSIONS)
            return -1;
        counts[count] = get_number(&child, DW_AT_count, 0);
        if (dwarf_hasattr(&child, DW_AT_upper_bound)) /* of C, which counts from 0 */
            counts[count] = get_number(&child, DW_AT_upper_bound, UINT64_MAX) + 1;
        count++;
    } while (dwarf_siblingof(&child, &child) == 0);
    return count;
}

/* Names. */

static const char *word_of(const struct type *type)
{
    Dwarf_Die die = type->die;
    int tag = die.addr ? dwarf_tag(&die) : 0;
    return tag == DW_TAG_structure_type     ? "struct "
           : tag == DW_TAG_class_type       ? "class "
           : tag == DW_TAG_union_type       ? "union "
           : tag == DW_TAG_enumeration_type ? "enum "
                                            : "";
}

/* The dimensions of an array of `type`'s elements, and what stands behind them. */
static void print_dimensions(const struct type *type, char *text, size_t size)
{
    uint64_t counts[TYPE_MAX_DIMENSIONS];
    int count = type_dimensions(type, counts);
    *text = 0;
    for (int i = 0; i < count; i++) {
        size_t length = strlen(text);
        if (counts[i])
            snprintf(text + length, size - length, "[%" PRIu64 "]", counts[i]);
        else
            snprintf(text + length, size - length, "[]");
    }
}

void type_print(const struct type *type, char *text, size_t size)
{
    char behind[128] = "";
    struct type innermost = *type;
    /* Pointers and arrays stand behind what they are of. */
    for (int i = 0; i < MAX_NAMES && (innermost.kind == TYPE_POINTER || innermost.kind == TYPE_ARRAY); i++) {
        char part[64] = "*", rest[sizeof behind];
        if (innermost.kind == TYPE_ARRAY)
            print_dimensions(&innermost, part, sizeof part);
        snprintf(rest, sizeof rest, "%s", behind);
        snprintf(behind, sizeof behind, "%s%.60s", part, rest);
        innermost = type_target(&innermost);
    }
    const char *name = innermost.name                          ? innermost.name
                       : innermost.kind == TYPE_FUNCTION       ? "function"
                       : innermost.kind == TYPE_MEMBER_POINTER ? "pointer to a member"
                       : innermost.kind == TYPE_OPAQUE         ? "void"
                                                               : "without a name";
    snprintf(text, size, "%s%s%s%s", word_of(&innermost), name, *behind ? " " : "", behind);
}
