/*
 * What `sepconv-check` asks of a C function: one convolution a call.
 *
 * Output (y, x, j) is the sum of bias[j] and of every input times its weight, over the taps of the window that are inside
 * the image, row by row, and over the input channels of the group of j; then the residual is added, then the sum is
 * clamped: x < lo ? lo : x, then x > hi ? hi : x. Taps outside the image are skipped. The order given is that of the rules
 * `bits` and `chain`.
 *
 * Element (y, x, c) of an image is at y * strides[0] + x * strides[1] + c * strides[2]. Weights have the layout O, I, kh, kw
 * without gaps, where I = inputs / groups; output channel j belongs to group j / (outputs / groups). Sizes and strides count
 * elements; pairs are rows, then columns.
 *
 * Nothing outside the images may be read or written, nor what lies in their gaps.
 */
#ifndef SEPCONV_CHECK_H
#define SEPCONV_CHECK_H

#include <stdint.h>

#define SEPCONV_CHECK_VERSION 1

enum { SEPCONV_CHECK_POINTWISE = 0, SEPCONV_CHECK_DEPTHWISE = 1, SEPCONV_CHECK_CONV = 2 };
enum { SEPCONV_CHECK_NHWC = 0, SEPCONV_CHECK_NCHW = 1 };

struct sepconv_check_case {
    uint32_t version; /* SEPCONV_CHECK_VERSION; refuse any other */
    uint32_t size;    /* bytes of this struct */
    uint32_t op;      /* SEPCONV_CHECK_POINTWISE, _DEPTHWISE or _CONV */
    uint32_t layout;  /* SEPCONV_CHECK_NHWC or _NCHW; the strides say it too */
    uint64_t height, width;
    uint64_t inputs, outputs, groups; /* depthwise: groups == inputs */
    uint64_t window[2], stride[2], dilation[2];
    uint64_t padding[4]; /* top, bottom, left, right */
    uint64_t output_height, output_width;
    uint64_t input_strides[3], output_strides[3], residual_strides[3]; /* row, pixel, channel */
    float input_lo;           /* lower bound of each input as it is read; -infinity for none */
    float clamp_lo, clamp_hi; /* infinities for none */
    uint32_t reserved;
    const float *input, *weights, *bias;
    const float *residual; /* NULL for none */
    float *output;         /* full of NaN */
};

/* Computes the case and returns 0; any other status says that it does not take such a case. */
typedef int sepconv_check_function(const struct sepconv_check_case *);

#endif
