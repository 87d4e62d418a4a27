/* What the vocabularies of all ISAs share. Clause numbers refer to kernels/README.md. */
#ifndef SEPCONV_ISA_BASE_H
#define SEPCONV_ISA_BASE_H
#ifdef __FAST_MATH__
#error "sepconv's kernels promise exact bits: build without -ffast-math (clause 4)"
#endif
#include <stddef.h>

/* No load moves up past this point: compilers that hoist the loads of a later piece run out of registers and spill. */
#if defined(__GNUC__)
#define COMPILER_BARRIER() __asm__ volatile("" ::: "memory")
#else
#define COMPILER_BARRIER() ((void)0)
#endif
#endif
