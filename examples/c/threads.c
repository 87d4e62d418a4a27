/* One depthwise and one pointwise layer on four threads of the program's own, the first cut by rows, the second by
 * channels; and a network on the same threads. Each is compared with the run on one thread, bit for bit, and with what the
 * Rust interface computes.
 *
 *     cargo rustc --release --lib --features capi --crate-type staticlib
 *     cc -std=gnu99 -Iinclude examples/c/threads.c target/release/libsepconv.a -lm -lpthread -ldl -o threads && ./threads
 *
 * Exits with 0 where all bits are equal.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sepconv.h"

/* FNV-1a of the bits of each output; tests/capi computes them in Rust. */
#define EXPECTED_DEPTHWISE UINT64_C(0x0c41c865cbf65518)
#define EXPECTED_POINTWISE UINT64_C(0x82f01d39b5273080)
#define EXPECTED_NETWORK UINT64_C(0x0d54d58a919c430c)

enum { THREADS = 4, HEIGHT = 29, WIDTH = 23, CHANNELS = 72, OUTPUTS = 200, CLASSES = 10 };

/* Ends the program where a call was refused, with what the library says. */
static void check(sepconv_status status, const char *call) {
    if (status != SEPCONV_STATUS_OK) {
        fprintf(stderr, "%s: %s: %s\n", call, sepconv_status_name(status), sepconv_last_message());
        exit(1);
    }
}
#define CHECK(call) check(call, #call)

/* So many threads, the calling one among them, each with every THREADS-th task: what the library asks for. */
typedef struct {
    size_t first, tasks;
    sepconv_task task;
    void *argument;
} work;

static void *run_work(void *argument) {
    const work *mine = argument;
    for (size_t task = mine->first; task < mine->tasks; task += THREADS) mine->task(mine->argument, task);
    return NULL;
}

static void parallel_for(void *context, size_t tasks, sepconv_task task, void *argument) {
    pthread_t threads[THREADS];
    work works[THREADS];
    int started[THREADS] = {0};
    (void)context;
    for (size_t i = 0; i < THREADS; i++) works[i] = (work){i, tasks, task, argument};
    for (size_t i = 1; i < THREADS; i++) started[i] = pthread_create(&threads[i], NULL, run_work, &works[i]) == 0;
    run_work(&works[0]);
    for (size_t i = 1; i < THREADS; i++) {
        if (started[i]) {
            pthread_join(threads[i], NULL);
        } else {
            run_work(&works[i]);
        }
    }
}

static size_t count(void *context) {
    (void)context;
    return THREADS;
}

/* Numbers in -1..1, in steps of 2^-23; `Numbers` of tests/capi makes the same. */
static void fill(float *data, size_t length, uint32_t seed) {
    for (size_t i = 0; i < length; i++) {
        seed = seed * 1664525u + 1013904223u;
        data[i] = (float)(int32_t)(seed >> 8) / 8388608.0f - 1.0f;
    }
}

static uint64_t hash(const float *data, size_t length) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < length; i++) {
        uint32_t bits;
        memcpy(&bits, &data[i], sizeof bits);
        for (int byte = 0; byte < 4; byte++) hash = (hash ^ (bits >> 8 * byte & 0xff)) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* Whether both runs have the same bits, and those that are expected. */
static int same(const char *what, const float *one, const float *many, size_t length, uint64_t expected) {
    const int equal = memcmp(one, many, length * sizeof(float)) == 0;
    const int as_rust = hash(one, length) == expected;
    printf("%s: %d threads %s one, hash %016" PRIx64 ", %s\n", what, THREADS, equal ? "as" : "not as", hash(one, length),
           as_rust ? "as in Rust" : "not as in Rust");
    return equal && as_rust;
}

/* One layer, cut by rows or by channels; a task is a part. */
typedef struct {
    const sepconv_layer *layer;
    sepconv_image input, residual;
    sepconv_image_mut output;
    sepconv_clamp clamp;
    int by_channels;
} job;

static void run_part(void *argument, size_t index) {
    const job *job = argument;
    const size_t height = job->output.height, channels = job->output.channels;
    sepconv_part part = {0, height, 0, channels};
    if (job->by_channels) {
        size_t step;
        CHECK(sepconv_layer_channel_step(job->layer, &step));
        const size_t steps = (channels + step - 1) / step;
        part.channel_begin = steps * index / THREADS * step;
        part.channel_end = steps * (index + 1) / THREADS * step;
        if (part.channel_end > channels) part.channel_end = channels;
    } else {
        part.row_begin = height * index / THREADS;
        part.row_end = height * (index + 1) / THREADS;
    }
    /* The output and the residual begin with the part. */
    sepconv_image_mut output = job->output;
    sepconv_image residual = job->residual;
    const size_t offset = part.row_begin * output.row_stride + part.channel_begin;
    output.data += offset;
    output.length -= offset;
    residual.data += offset;
    residual.length -= offset;
    output.height = residual.height = part.row_end - part.row_begin;
    output.channels = residual.channels = part.channel_end - part.channel_begin;
    if (output.height == 0 || output.channels == 0) return;
    CHECK(sepconv_layer_run(job->layer, &part, &job->input, &residual, &job->clamp, &output));
}

/* Runs `layer` on one thread and on all of them. */
static int run_layer(const char *what, const sepconv_layer *layer, size_t channels, int by_channels, uint64_t expected) {
    static float input[HEIGHT * WIDTH * CHANNELS], residual[HEIGHT * WIDTH * OUTPUTS];
    static float one[HEIGHT * WIDTH * OUTPUTS], many[HEIGHT * WIDTH * OUTPUTS];
    const size_t length = HEIGHT * WIDTH * channels;
    fill(input, HEIGHT * WIDTH * CHANNELS, 1);
    fill(residual, length, 2);
    job job = {
        .layer = layer,
        .input = {.data = input, .length = HEIGHT * WIDTH * CHANNELS, .height = HEIGHT, .width = WIDTH, .channels = CHANNELS},
        .residual = {residual, length, HEIGHT, WIDTH, channels, channels, WIDTH * channels},
        .output = {one, length, HEIGHT, WIDTH, channels, channels, WIDTH * channels},
        .clamp = {0.0f, 6.0f},
        .by_channels = by_channels,
    };
    CHECK(sepconv_layer_run(layer, NULL, &job.input, &job.residual, &job.clamp, &job.output));
    job.output.data = many;
    parallel_for(NULL, THREADS, run_part, &job);
    return same(what, one, many, length, expected);
}

/* A network on the library's own cuts: the program gives the threads. */
static int run_network(void) {
    const sepconv_threads threads = {NULL, count, parallel_for};
    const sepconv_network digits = {.name = "digits"};
    sepconv_graph *graph;
    sepconv_plan *plan;
    size_t bytes;
    void *workspace;
    CHECK(sepconv_graph_network(&digits, &graph));
    CHECK(sepconv_plan_from_names(graph, &threads, NULL, &plan));
    CHECK(sepconv_graph_free(graph));
    CHECK(sepconv_plan_workspace_bytes(plan, &bytes));
    if (posix_memalign(&workspace, SEPCONV_WORKSPACE_ALIGNMENT, bytes) != 0) exit(1);
    static float image[28 * 28];
    float one[CLASSES], many[CLASSES];
    fill(image, 28 * 28, 5);
    const sepconv_batch in = {{.data = image, .length = 28 * 28, .height = 28, .width = 28, .channels = 1}, 1, 0};
    sepconv_batch_mut out = {{.data = one, .length = CLASSES, .height = 1, .width = 1, .channels = CLASSES}, 1, 0};
    CHECK(sepconv_plan_run(plan, NULL, workspace, bytes, &in, 1, &out, 1));
    out.first.data = many;
    CHECK(sepconv_plan_run(plan, &threads, workspace, bytes, &in, 1, &out, 1));
    CHECK(sepconv_plan_free(plan));
    free(workspace);
    return same("network", one, many, CLASSES, EXPECTED_NETWORK);
}

int main(void) {
    static float weights[OUTPUTS * CHANNELS], bias[OUTPUTS];
    fill(weights, OUTPUTS * CHANNELS, 3);
    fill(bias, OUTPUTS, 4);
    sepconv_layer *depthwise, *pointwise;

    const sepconv_window window = sepconv_window_symmetric(3, 1);
    const sepconv_weights taps = {SEPCONV_ORDER_OIHW, weights, CHANNELS * 9, bias, CHANNELS};
    CHECK(sepconv_depthwise_new(NULL, CHANNELS, &window, NULL, &taps, &depthwise));
    const int rows = run_layer("depthwise by rows", depthwise, CHANNELS, 0, EXPECTED_DEPTHWISE);
    CHECK(sepconv_layer_free(depthwise));

    const sepconv_pointwise what = {CHANNELS, OUTPUTS, 1, 1, HEIGHT * WIDTH};
    const sepconv_weights matrix = {SEPCONV_ORDER_HWIO, weights, OUTPUTS * CHANNELS, bias, OUTPUTS};
    CHECK(sepconv_pointwise_new(NULL, &what, &matrix, &pointwise));
    const int channels = run_layer("pointwise by channels", pointwise, OUTPUTS, 1, EXPECTED_POINTWISE);
    CHECK(sepconv_layer_free(pointwise));

    const int network = run_network();
    return rows && channels && network ? 0 : 1;
}
