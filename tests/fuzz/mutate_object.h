/* Damages ELF objects where it hurts: fields of headers, sections, symbols and relocations rather than any byte. */
#ifndef TESTS_FUZZ_MUTATE_OBJECT_H
#define TESTS_FUZZ_MUTATE_OBJECT_H

#include <stddef.h>
#include <stdint.h>

/* Changes some fields of the object in `data`, in place; *random is the state of the random numbers, not 0. */
void mutate_object(uint8_t *data, size_t size, uint64_t *random);

#endif
