/* The vector vocabulary on x86-64 with AVX-512F: 16 lanes of f32, 32 registers. Clause numbers refer to
   kernels/README.md. */
#ifndef SEPCONV_ISA_AVX512_H
#define SEPCONV_ISA_AVX512_H
#include "base.h"
#include <immintrin.h>

#define LANES 16
typedef __m512 vec;

static inline vec vec_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void vec_store(float *p, vec v) { _mm512_storeu_ps(p, v); }
static inline vec vec_splat(const float *p) { return _mm512_set1_ps(*p); }

/* p[i + u] and p[2 * i + u] in every lane, the distance i in an index register. Spelled out: left the choice, gcc 12 adds u to
   the index, a register for each u, and spills. */
#if SPELLED_OUT
#define VEC_SPLAT_AT(p, i, u, scale)                                                                                    \
    vec v;                                                                                                              \
    __asm__ volatile("vbroadcastss %c3(%1,%2," #scale "), %0" : "=v"(v) : "r"(p), "r"(i), "i"((u) * sizeof(float)));    \
    return v
#else
#define VEC_SPLAT_AT(p, i, u, scale) return vec_splat((p) + (i) * (scale) / 4 + (u))
#endif
static inline vec vec_splat_at(const float *p, ptrdiff_t i, const size_t u) { VEC_SPLAT_AT(p, i, u, 4); }
static inline vec vec_splat_at_twice(const float *p, ptrdiff_t i, const size_t u) { VEC_SPLAT_AT(p, i, u, 8); }

static inline vec vec_add(vec a, vec b) { return _mm512_add_ps(a, b); }

/* acc + a * b, rounded once. The form that adds in place is spelled out, as for AVX2. */
static inline vec vec_fma(vec acc, vec a, vec b)
{
#if defined(__GNUC__)
    __asm__("vfmadd231ps %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
    return acc;
#else
    return _mm512_fmadd_ps(a, b, acc);
#endif
}

/* The operand order matters: where either operand is NaN or both are zero, the instructions return the second. */
static inline vec vec_clamp_lo(vec x, vec lo) { return _mm512_max_ps(lo, x); }
static inline vec vec_clamp(vec x, vec lo, vec hi) { return _mm512_min_ps(hi, vec_clamp_lo(x, lo)); }

/* The first n lanes, 1 <= n <= LANES; touches no memory beyond them (clause 3). Lanes not loaded are zero. */
static inline __mmask16 first_lanes(size_t n) { return (__mmask16)((1u << n) - 1); }
static inline vec vec_load_first(const float *p, size_t n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }
static inline void vec_store_first(float *p, vec v, size_t n) { _mm512_mask_storeu_ps(p, first_lanes(n), v); }

/* Prefetches the line at p, which need not exist: into the second-level cache, or with _near the first. */
static inline void prefetch(const float *p) { _mm_prefetch((const char *)p, _MM_HINT_T1); }
static inline void prefetch_near(const float *p) { _mm_prefetch((const char *)p, _MM_HINT_T0); }
#endif
