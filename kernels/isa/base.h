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

/* Whether addresses may be spelled out in assembly, which needs numbers that only an optimising compiler knows: loads of
   what no kernel writes. AddressSanitizer would not see those. */
#if defined(__SANITIZE_ADDRESS__)
#define SPELLED_OUT 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SPELLED_OUT 0
#endif
#endif
#if !defined(SPELLED_OUT) && defined(__GNUC__) && defined(__OPTIMIZE__)
#define SPELLED_OUT 1
#endif
#endif
