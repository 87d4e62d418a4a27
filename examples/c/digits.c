/* Classifies the 1,000 embedded digits, and compares the bits of every logit with what the Rust interface computes.
 *
 *     cargo rustc --release --lib --features capi --crate-type staticlib
 *     cc -std=gnu99 -Iinclude examples/c/digits.c target/release/libsepconv.a -lm -lpthread -ldl -o digits && ./digits
 *
 * Runs in the repository's root; exits with 0 where the bits are equal.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sepconv.h"

/* FNV-1a of the bits of all logits; tests/capi computes it in Rust. */
#define EXPECTED_HASH UINT64_C(0xd13dd36f8e6274e4)
/* Digits that are classified right. */
#define EXPECTED_RIGHT 986

enum { DIGITS = 1000, BATCH = 10, PIXELS = 28 * 28, CLASSES = 10 };

/* Ends the program where a call was refused, with what the library says. */
static void check(sepconv_status status, const char *call) {
    if (status != SEPCONV_STATUS_OK) {
        fprintf(stderr, "%s: %s: %s\n", call, sepconv_status_name(status), sepconv_last_message());
        exit(1);
    }
}
#define CHECK(call) check(call, #call)

static void *ensure(void *memory, const char *what) {
    if (memory == NULL) {
        perror(what);
        exit(1);
    }
    return memory;
}

/* A whole file, and one byte of 0 after it. */
static uint8_t *read_file(const char *path, size_t *length) {
    FILE *file = ensure(fopen(path, "rb"), path);
    long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    if (size < 8 || fseek(file, 0, SEEK_SET) != 0) {
        fprintf(stderr, "%s: not a safetensors file\n", path);
        exit(1);
    }
    uint8_t *bytes = ensure(calloc((size_t)size + 1, 1), path);
    *length = fread(bytes, 1, (size_t)size, file);
    fclose(file);
    if (*length != (size_t)size) {
        fprintf(stderr, "%s: ends after %zu of %ld bytes\n", path, *length, size);
        exit(1);
    }
    return bytes;
}

/* The `expected` bytes of tensor `name`: a safetensors file is the length of its header (8 bytes), the header, which is
 * JSON, and the data. */
static const uint8_t *tensor(const uint8_t *file, size_t length, const char *name, size_t expected) {
    uint64_t header = 0;
    for (int byte = 7; byte >= 0; byte--) header = header << 8 | file[byte];
    const char *entry = strstr((const char *)file + 8, name);
    const char *offsets = entry == NULL ? NULL : strstr(entry, "\"data_offsets\":[");
    size_t begin = 0, end = 0;
    if (offsets == NULL || sscanf(offsets, "\"data_offsets\":[%zu,%zu]", &begin, &end) != 2 || end - begin != expected ||
        header > length - 8 || end > length - 8 - header) {
        fprintf(stderr, "%s: no tensor of %zu bytes\n", name, expected);
        exit(1);
    }
    return file + 8 + header + begin;
}

int main(void) {
    if (sepconv_abi_version() != SEPCONV_ABI_VERSION) {
        fprintf(stderr, "the library is another one than the header is for\n");
        return 1;
    }

    size_t weights_length, digits_length;
    uint8_t *weights = read_file("data/digits/digits.safetensors", &weights_length);
    uint8_t *digits = read_file("data/digits/held_out.safetensors", &digits_length);
    const uint8_t *images = tensor(digits, digits_length, "\"images\"", DIGITS * PIXELS);
    const uint8_t *labels = tensor(digits, digits_length, "\"labels\"", DIGITS);

    /* The file says which network it is for. */
    sepconv_graph *graph;
    sepconv_plan *plan;
    sepconv_plan_options options = {.batch = BATCH};
    CHECK(sepconv_graph_load(weights, weights_length, &graph));
    CHECK(sepconv_plan_new(graph, weights, weights_length, NULL, &options, &plan));
    CHECK(sepconv_graph_free(graph));
    free(weights);

    sepconv_port input, output;
    const char *isa;
    size_t bytes;
    void *workspace;
    CHECK(sepconv_plan_input(plan, 0, &input));
    CHECK(sepconv_plan_output(plan, 0, &output));
    CHECK(sepconv_plan_isa(plan, &isa));
    CHECK(sepconv_plan_workspace_bytes(plan, &bytes));
    printf("sepconv %s on %s: %s %zux%zux%zu to %s %zu, %zu bytes of workspace\n", sepconv_version(), isa, input.name,
           input.shape.height, input.shape.width, input.shape.channels, output.name, output.shape.channels, bytes);
    if (posix_memalign(&workspace, SEPCONV_WORKSPACE_ALIGNMENT, bytes) != 0) ensure(NULL, "workspace");

    static float pixels[BATCH * PIXELS], logits[BATCH * CLASSES];
    const sepconv_batch in = {
        .first = {.data = pixels, .length = BATCH * PIXELS, .height = 28, .width = 28, .channels = 1},
        .count = BATCH,
    };
    const sepconv_batch_mut out = {
        .first = {.data = logits, .length = BATCH * CLASSES, .height = 1, .width = 1, .channels = CLASSES},
        .count = BATCH,
    };
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    int right = 0;
    for (int first = 0; first < DIGITS; first += BATCH) {
        for (int i = 0; i < BATCH * PIXELS; i++) pixels[i] = (float)images[first * PIXELS + i] / 255.0f;
        CHECK(sepconv_plan_run(plan, NULL, workspace, bytes, &in, 1, &out, 1));
        for (int digit = 0; digit < BATCH; digit++) {
            const float *of = logits + digit * CLASSES;
            int best = 0;
            for (int class = 1; class < CLASSES; class++) {
                if (of[class] > of[best]) best = class;
            }
            right += best == labels[first + digit];
        }
        for (int i = 0; i < BATCH * CLASSES; i++) {
            uint32_t bits;
            memcpy(&bits, &logits[i], sizeof bits);
            for (int byte = 0; byte < 4; byte++) hash = (hash ^ (bits >> 8 * byte & 0xff)) * UINT64_C(0x100000001b3);
        }
    }
    CHECK(sepconv_plan_free(plan));
    free(workspace);
    free(digits);

    const int same = hash == EXPECTED_HASH && right == EXPECTED_RIGHT;
    printf("%d of %d digits are right; the logits' hash is %016" PRIx64 ", %s\n", right, DIGITS, hash,
           same ? "as in Rust" : "not as in Rust");
    return same ? 0 : 1;
}
