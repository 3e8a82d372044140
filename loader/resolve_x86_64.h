/* Constants that loader/resolve_x86_64.S shares with C. */
#ifndef LOADER_RESOLVE_X86_64_H
#define LOADER_RESOLVE_X86_64_H

/* The state components in which arguments may live: SSE, AVX, and AVX-512's opmask, upper halves and upper registers
 * (Intel SDM vol. 1, 13.1); MPX bounds, as ld.so. */
#define BIND_STATE_MASK 0xee

/* Room for those in the standard form, whose last one ends at 2688 (the compact form is smaller), a multiple of 64. */
#define BIND_STATE_SIZE 2688

/* enum bind_save. */
#define BIND_SAVE_FXSAVE_ASM 1
#define BIND_SAVE_XSAVEC_ASM 3

#endif
