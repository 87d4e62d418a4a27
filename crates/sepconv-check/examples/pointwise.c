/* A pointwise convolution as plain loops, without groups, gaps in its images or a residual. */
#include "sepconv_check.h"
#include <math.h>

int pointwise(const struct sepconv_check_case *a) {
    if (a->version != SEPCONV_CHECK_VERSION || a->op != SEPCONV_CHECK_POINTWISE || a->layout != SEPCONV_CHECK_NHWC)
        return 1;
    if (a->groups != 1 || a->stride[0] != 1 || a->stride[1] != 1 || a->residual)
        return 1;
    for (uint64_t pixel = 0; pixel < a->height * a->width; pixel++)
        for (uint64_t j = 0; j < a->outputs; j++) {
            float sum = a->bias[j];
            for (uint64_t c = 0; c < a->inputs; c++)
                sum = fmaf(a->input[pixel * a->inputs + c], a->weights[j * a->inputs + c], sum);
            sum = sum < a->clamp_lo ? a->clamp_lo : sum;
            a->output[pixel * a->outputs + j] = sum > a->clamp_hi ? a->clamp_hi : sum;
        }
    return 0;
}
