/* The vector vocabulary on AArch64 with NEON: 4 lanes of f32, 32 registers. Clause numbers refer to kernels/README.md. */
#ifndef SEPCONV_ISA_NEON_H
#define SEPCONV_ISA_NEON_H
#include "base.h"
#include <arm_neon.h>

#define LANES 4
typedef float32x4_t vec;

static inline vec vec_load(const float *p) { return vld1q_f32(p); }
static inline void vec_store(float *p, vec v) { vst1q_f32(p, v); }
static inline vec vec_splat(const float *p) { return vld1q_dup_f32(p); }
static inline vec vec_add(vec a, vec b) { return vaddq_f32(a, b); }

/* acc + a * b, rounded once. */
static inline vec vec_fma(vec acc, vec a, vec b) { return vfmaq_f32(acc, a, b); }

/* acc + a * b[lane], rounded once. */
#define vec_fma_lane(acc, a, b, lane) vfmaq_laneq_f32(acc, a, b, lane)

/* Compare and select, never vmaxq or vminq: those lose NaN's and -0's rule (clause 5). */
static inline vec vec_clamp_lo(vec x, vec lo) { return vbslq_f32(vcltq_f32(x, lo), lo, x); }
static inline vec vec_clamp(vec x, vec lo, vec hi)
{
    const vec clamped = vec_clamp_lo(x, lo);
    return vbslq_f32(vcgtq_f32(clamped, hi), hi, clamped);
}

/* The first n lanes, 1 <= n <= LANES; touches no memory beyond them (clause 3). Lanes not loaded are zero. */
static inline vec vec_load_first(const float *p, size_t n)
{
    if (n == LANES)
        return vld1q_f32(p);
    vec v = vld1q_lane_f32(p, vdupq_n_f32(0), 0);
    if (n > 1)
        v = vld1q_lane_f32(p + 1, v, 1);
    if (n > 2)
        v = vld1q_lane_f32(p + 2, v, 2);
    return v;
}

static inline void vec_store_first(float *p, vec v, size_t n)
{
    if (n == LANES) {
        vst1q_f32(p, v);
        return;
    }
    vst1q_lane_f32(p, v, 0);
    if (n > 1)
        vst1q_lane_f32(p + 1, v, 1);
    if (n > 2)
        vst1q_lane_f32(p + 2, v, 2);
}

/* Prefetches the line at p, which need not exist: into the second-level cache, or with _near the first. */
static inline void prefetch(const float *p) { __builtin_prefetch(p, 0, 2); }
static inline void prefetch_near(const float *p) { __builtin_prefetch(p, 0, 3); }
#endif
