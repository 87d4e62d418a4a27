/* What the GEMM-shaped kernels share in C. Included after an ISA's header. */
#ifndef SEPCONV_GEMM_H
#define SEPCONV_GEMM_H
#include <stddef.h>

/* A panel of output channels: `vectors` vectors, of the last of which `tail` lanes are real. */
struct panel {
    const float *b, *bias;
    size_t vectors, tail;
};

/* The panel that begins at output channel `column` of `n`, as wide as it needs, at most `widest` vectors. */
static inline struct panel panel_at(size_t column, size_t n, size_t widest, const float *b, const float *bias)
{
    const size_t columns = n - column;
    const size_t vectors = columns >= widest * LANES ? widest : (columns + LANES - 1) / LANES;
    return (struct panel){
        .b = b,
        .bias = bias ? bias + column : 0,
        .vectors = vectors,
        .tail = columns >= vectors * LANES ? LANES : columns - (vectors - 1) * LANES,
    };
}

/* A run of pixels in tiles that differ by one pixel at most: `larger` of them have mr + 1, `others` have mr. */
struct tiles {
    size_t mr, larger, others;
};

/* The tiles of `pixels` pixels (at least one), at most `most` each. */
static inline struct tiles balance(size_t pixels, size_t most)
{
    const size_t count = (pixels + most - 1) / most;
    return (struct tiles){.mr = pixels / count, .larger = pixels % count, .others = count - pixels % count};
}
#endif
