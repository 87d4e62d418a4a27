/*
 * sepconv: depthwise-separable convolutional networks on CPUs. C99 and C++17.
 *
 * Images are NHWC, floats; sizes and strides count floats unless a name says bytes. Every function that returns a
 * sepconv_status refuses null and misaligned pointers, sizes that do not fit each other or the address space, and
 * handles of another kind, before it does anything; sepconv_last_message() says what was wrong and what was expected.
 * A pointer may be null only where a function says so. Text is UTF-8. Beyond that, memory must be as large as the
 * argument beside it says. Results are written through the last pointers, and only with SEPCONV_STATUS_OK.
 *
 * A handle that was freed must not be passed again; it is found by luck at best. Nothing may use a handle while it is
 * freed.
 *
 * Equal arguments give equal bits on every ISA, and on any number of threads, where every thread that calls or runs a
 * task has the default floating-point environment: rounding to nearest, neither FTZ nor DAZ. On a CPU without FMA the
 * ISA "portable" may give others.
 *
 * Limits: windows have sizes, strides and dilations of 1 to 32768, other strides of layers are 1 to 32768; a layer has at
 * most 2^24 outputs; what is concatenated or shuffled has at most 2^20 channels; a plan has at most 64 inputs and 64
 * outputs, and 65536 images a run.
 */

#ifndef SEPCONV_H
#define SEPCONV_H

#include <stddef.h>
#include <stdint.h>

// The number of this interface: sepconv_abi_version() of a library that it fits.
#define SEPCONV_ABI_VERSION 1

// The alignment of a workspace, in bytes.
#define SEPCONV_WORKSPACE_ALIGNMENT 64

// What became of a call. A call that fails changes nothing and writes nothing, but for a run that panicked, whose outputs
// are unspecified. `sepconv_last_message` says more.
typedef enum {
  // Done.
  SEPCONV_STATUS_OK = 0,
  // A pointer is null that must not be.
  SEPCONV_STATUS_NULL_ARGUMENT = 1,
  // A pointer is not aligned: to 4 bytes for floats, to the type for structs, to `SEPCONV_WORKSPACE_ALIGNMENT` for a
  // workspace.
  SEPCONV_STATUS_MISALIGNED = 2,
  // A name is unknown, text is not UTF-8, a number is none of an enum or no index, bounds of a clamp are crossed or NaN,
  // `sepconv_network` has a number out of range, two arguments exclude each other, a plan has too many inputs or
  // outputs, an array is larger than the address space, or an image lies in the workspace. No other overlap is found.
  SEPCONV_STATUS_BAD_ARGUMENT = 3,
  // An array of a layer has another length, or an image or a workspace is shorter, than its sizes say.
  SEPCONV_STATUS_LENGTH = 4,
  // Shapes or counts that belong together differ; a window does not fit; a size, a stride, a number of groups or of
  // images is out of range; or a builder's call makes no node: its name is empty or used, an array has another length,
  // a tensor is another builder's, epsilon or slope is out of range.
  SEPCONV_STATUS_SHAPE = 5,
  // This CPU or this build lacks the ISA.
  SEPCONV_STATUS_UNSUPPORTED_ISA = 6,
  // The weights are no safetensors file, or not those of the graph.
  SEPCONV_STATUS_WEIGHTS = 7,
  // There is no room in memory.
  SEPCONV_STATUS_MEMORY = 8,
  // A handle is of another kind, or is none. A handle that was freed must not be passed again: it is found by luck at
  // best.
  SEPCONV_STATUS_NOT_A_HANDLE = 9,
  // A defect of the library: it panicked. Never for wrong arguments.
  SEPCONV_STATUS_PANICKED = 10,
  // The bytes are no saved plan, or a damaged one.
  SEPCONV_STATUS_BLOB = 11,
  // A plan was saved by another version of the library, for another ISA, for other kernels, or on a machine for which
  // another plan would be made.
  SEPCONV_STATUS_OTHER_BLOB = 12,
} sepconv_status;

// In which order weights lie.
typedef enum {
  // Outputs, inputs of a group, rows, columns, as PyTorch has them; depthwise: channels, 1, rows, columns.
  SEPCONV_ORDER_OIHW = 0,
  // Rows, columns, inputs of a group, outputs, as TensorFlow has them; depthwise: rows, columns, channels, 1.
  SEPCONV_ORDER_HWIO = 1,
} sepconv_order;

// How a fully connected layer takes the elements of an image, one after the other.
typedef enum {
  // Channel by channel, row by row: as PyTorch flattens.
  SEPCONV_FLATTEN_CHANNELS_FIRST = 0,
  // Row by row, pixel by pixel, all channels of each: as Keras flattens.
  SEPCONV_FLATTEN_CHANNELS_LAST = 1,
} sepconv_flatten;

// Which layers a plan computes together, strip by strip, so that what is between them stays in a cache. The bits are the
// same.
typedef enum {
  // Those where it pays.
  SEPCONV_FUSION_AUTO = 0,
  // None.
  SEPCONV_FUSION_OFF = 1,
} sepconv_fusion;

// Builds a graph. Only one thread at a time may use a builder.
typedef struct sepconv_builder sepconv_builder;

// What a network computes, without weights (but for arrays that its builder was given). Any number of threads may use
// the same graph at the same time.
typedef struct sepconv_graph sepconv_graph;

// A convolution with its weights packed for one kernel. Any number of threads may run the same layer at the
// same time, each to an output of its own.
typedef struct sepconv_layer sepconv_layer;

// A graph with its weights packed for the kernels of one ISA. Any number of threads may run the same plan at the same time,
// each with a workspace and outputs of its own.
typedef struct sepconv_plan sepconv_plan;

// A tensor of a builder: what its calls give and take. Any number of nodes may read one.
typedef struct {
  // The builder's number.
  size_t builder;
  // The tensor's.
  size_t index;
} sepconv_tensor;

// Height, width and channels of an image.
typedef struct {
  // Rows.
  size_t height;
  // Pixels in a row.
  size_t width;
  // Channels of a pixel.
  size_t channels;
} sepconv_shape;

// Which network of the literature. A number that is 0, and a name that is null, take the default of the network and its
// flavor.
typedef struct {
  // `digits`, `mobilenet_v1`, `mobilenet_v2`, `xception`, `shufflenet_v1`, `shufflenet_v2`, `squeezenet_1_0`,
  // `squeezenet_1_1` or `effnet`; never null.
  const char *name;
  // Whose conventions: `torch`, `timm`, `tf`, `keras`, `slim`, `paper`, `megvii` or `caffe`.
  const char *flavor;
  // Multiplier of the channels: more than 0, at most 16.
  double width;
  // Rows and columns of the input: 1 to 8192 pixels, and as many as the network's windows need.
  size_t resolution;
  // Outputs of the classifier: 1 to 1048576.
  size_t classes;
  // Groups of ShuffleNet V1: 1, 2, 3, 4 or 8.
  size_t groups;
  // Not 0: without its head (pooling and classifier), so that its output is the last feature map.
  int backbone;
} sepconv_network;

// A pointwise (1x1) convolution, or a fully connected layer, which is one of a single pixel.
typedef struct {
  // Input channels.
  size_t inputs;
  // Output channels.
  size_t outputs;
  // Input rows and pixels from one that is read to the next: 1 to 32768.
  size_t stride;
  // Equal slices of the channels, each convolved by itself; 1, or a divisor of inputs and outputs.
  size_t groups;
  // About how many output pixels a run will have; any number can be run.
  size_t pixels;
} sepconv_pointwise;

// The weights of a layer. They are copied.
typedef struct {
  // One of `sepconv_order`.
  uint32_t order;
  // Outputs x inputs of a group x rows x columns floats.
  const float *weights;
  // How many there are.
  size_t weights_length;
  // A float an output; null for zeros.
  const float *bias;
  // How many there are; 0 where `bias` is null.
  size_t bias_length;
} sepconv_weights;

// A window that moves over an image. A tap that falls on padding is skipped, never multiplied by zero.
// `sepconv_window_symmetric` and `sepconv_window_same` make the usual ones.
typedef struct {
  // Rows of taps: 1 to 32768.
  size_t height;
  // Taps in a row: 1 to 32768.
  size_t width;
  // Input rows from one window to the next: 1 to 32768.
  size_t stride_rows;
  // Input pixels from one window to the next: 1 to 32768.
  size_t stride_columns;
  // Input rows from one tap to the next: 1 to 32768.
  size_t dilation_rows;
  // Input pixels from one tap to the next: 1 to 32768.
  size_t dilation_columns;
  // Missing rows above the image.
  size_t pad_top;
  // Missing rows below.
  size_t pad_bottom;
  // Missing pixels to the left.
  size_t pad_left;
  // Missing pixels to the right.
  size_t pad_right;
} sepconv_window;

// Some rows and some channels of a layer's output.
typedef struct {
  // First output row.
  size_t row_begin;
  // One past the last.
  size_t row_end;
  // First output channel: a multiple of `sepconv_layer_channel_step`.
  size_t channel_begin;
  // One past the last: another multiple, or the number of channels.
  size_t channel_end;
} sepconv_part;

// An image to read, NHWC: channel `c` of pixel (`y`, `x`) is `data[y * row_stride + x * pixel_stride + c]`. Sizes and
// strides count floats. Gaps are never touched.
typedef struct {
  // The first channel of the first pixel; may be null where `length` is 0.
  const float *data;
  // Floats from `data` on that belong to the caller: at least up to the last channel of the last pixel.
  size_t length;
  // Rows.
  size_t height;
  // Pixels in a row.
  size_t width;
  // Channels of a pixel.
  size_t channels;
  // From one pixel to the next, at least `channels`; 0 stands for `channels`.
  size_t pixel_stride;
  // From one row to the next, at least what a row takes; 0 stands for `width * pixel_stride`.
  size_t row_stride;
} sepconv_image;

// The bounds of a clamp. Where a pointer to one is null there is no clamp: ReLU is `{0, INFINITY}`, ReLU6 `{0, 6}`. NaN
// stays NaN, -0 stays -0.
typedef struct {
  // Lower bound; no NaN.
  float lo;
  // Upper bound; no NaN, and no less than `lo`.
  float hi;
} sepconv_clamp;

// An image to write, laid out as `sepconv_image`. Its memory need not be initialised.
typedef struct {
  // The first channel of the first pixel; may be null where `length` is 0.
  float *data;
  // Floats from `data` on that belong to the caller: at least up to the last channel of the last pixel.
  size_t length;
  // Rows.
  size_t height;
  // Pixels in a row.
  size_t width;
  // Channels of a pixel.
  size_t channels;
  // From one pixel to the next, at least `channels`; 0 stands for `channels`.
  size_t pixel_stride;
  // From one row to the next, at least what a row takes; 0 stands for `width * pixel_stride`.
  size_t row_stride;
} sepconv_image_mut;

// The parameters of a node with weights: by name in the source of weights, or as arrays, which are copied. A struct of
// zeros has none of them. What would be ignored is refused.
typedef struct {
  // The weights are `NAME.weight`; null where they are arrays, or there are none.
  const char *name;
  // Not 0: there must be a bias, `NAME.bias`. Else it is added where the source of weights has one.
  int has_bias;
  // Outputs x inputs of a group x rows x columns floats, where `name` is null.
  const float *weights;
  // How many there are; 0 where `weights` is null.
  size_t weights_length;
  // A float an output, only beside `weights`; null for zeros.
  const float *bias;
  // How many there are; 0 where `bias` is null.
  size_t bias_length;
  // The batch normalisation after it, which is folded into the weights, is `NORM.weight`, `NORM.bias`,
  // `NORM.running_mean`, `NORM.running_var`; null where it is arrays, or there is none.
  const char *norm;
  // Scales, shifts, means and variances, where `norm` is null: `norm_length` floats each. All null where there is no
  // normalisation.
  const float *scale;
  // See `scale`.
  const float *shift;
  // See `scale`.
  const float *mean;
  // See `scale`.
  const float *variance;
  // Outputs; 0 where these four are null, as they are where `norm` is not.
  size_t norm_length;
  // What is added to the variance: 0 or more, below 1.
  double epsilon;
} sepconv_parameters;

// One task: to be called with `argument` as it was given.
typedef void (*sepconv_task)(void *argument, size_t index);

// The caller's threads. The library starts none of its own; where a pointer to these is null, the calling thread does
// everything. Any number of runs at the same time may share one of these, where its functions allow it.
typedef struct {
  // Handed to both functions.
  void *context;
  // How many threads there are, the calling one among them: a plan is cut for as many. Asked when a plan is made; 0 is
  // taken as 1, more than 65536 as 65536.
  size_t (*count)(void *context);
  // Calls `task(argument, 0)` to `task(argument, tasks - 1)`, each once, in any order, on any threads. Every call of
  // `task` must have returned before this returns: `argument` is memory that is used after its end by a later one. It
  // must not be left by a C++ exception or by `longjmp`. It is called many times a run, one after the other, on the
  // thread that called `sepconv_plan_run`; two runs at the same time that share these threads are in it at the same
  // time. Which thread runs a task never changes a bit.
  void (*parallel_for)(void *context, size_t tasks, sepconv_task task, void *argument);
} sepconv_threads;

// How to make a plan. A struct of zeros, as a null pointer to one, is the default.
typedef struct {
  // The name of the ISA; null: see `sepconv_isa_chosen`.
  const char *isa;
  // Images a run: up to 65536; 0 stands for 1.
  size_t batch;
  // One of `sepconv_fusion`.
  uint32_t fusion;
  // Not 0: every chain of layers strip by strip where that takes less memory. The bits are the same.
  int low_memory;
} sepconv_plan_options;

// A tensor of weights by name: f32, row-major, with PyTorch's axes.
typedef struct {
  // The name, such as `block.pw.weight`.
  const char *name;
  // Finite floats. They are copied.
  const float *data;
  // How many there are.
  size_t length;
} sepconv_named_array;

// An input or an output of a plan.
typedef struct {
  // The name that it has in the graph; lives as long as the plan.
  const char *name;
  // The shape of each image.
  sepconv_shape shape;
} sepconv_port;

// Several images to read of one layout.
typedef struct {
  // The first; its `length` covers all of them.
  sepconv_image first;
  // Images.
  size_t count;
  // Floats from one image to the next; 0 stands for those from the first to the last of an image.
  size_t image_stride;
} sepconv_batch;

// Several images to write of one layout.
typedef struct {
  // The first; its `length` covers all of them.
  sepconv_image_mut first;
  // Images.
  size_t count;
  // Floats from one image to the next; 0 stands for those from the first to the last of an image.
  size_t image_stride;
} sepconv_batch_mut;

// How to load a plan. A struct of zeros, as a null pointer to one, is the default.
typedef struct {
  // The name of the ISA that the plan was saved for; null: see `sepconv_isa_chosen`.
  const char *isa;
  // Not 0: reads all weights once and compares their hash. Damage to them changes results, and no more than that.
  int verify;
} sepconv_load_options;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Writes a handle of a builder of nothing.
sepconv_status sepconv_builder_new(sepconv_builder **builder);

// Frees a builder. Graphs of it live on. Null is nothing to free.
sepconv_status sepconv_builder_free(sepconv_builder *builder);

// Writes a handle of the graph of all calls so far, with these tensors as its outputs: at least one, each once. The
// builder stays as it is.
sepconv_status sepconv_builder_build(const sepconv_builder *builder,
                                     const sepconv_tensor *outputs,
                                     size_t count,
                                     sepconv_graph **graph);

// Writes the shape of a tensor.
sepconv_status sepconv_builder_shape(const sepconv_builder *builder, sepconv_tensor tensor, sepconv_shape *shape);

// Writes an input of the graph: images of `shape`, which holds at least one element. Here and in the calls below names are
// the caller's, each used once; a call that is refused changes nothing. Where the node is what is wrong, not a pointer or
// an argument by itself, the message begins with the node's name.
sepconv_status sepconv_builder_input(sepconv_builder *builder,
                                     const char *name,
                                     sepconv_shape shape,
                                     sepconv_tensor *output);

// `count` channels of a tensor from channel `first` on, at least one; no node, and no copy.
sepconv_status sepconv_builder_slice(sepconv_builder *builder,
                                     sepconv_tensor input,
                                     size_t first,
                                     size_t count,
                                     sepconv_tensor *output);

// A tensor in `count` slices of so many `channels` each, which are all of it; writes as many tensors to `outputs`. No node,
// and no copy.
sepconv_status sepconv_builder_split(sepconv_builder *builder,
                                     sepconv_tensor input,
                                     const size_t *channels,
                                     size_t count,
                                     sepconv_tensor *outputs);

// The channels of `count` tensors of one height and width, those of the first in front; no node. A plan has them written
// side by side where it can.
sepconv_status sepconv_builder_concat(sepconv_builder *builder,
                                      const sepconv_tensor *inputs,
                                      size_t count,
                                      sepconv_tensor *output);

// A channel shuffle: the channels as `groups` rows, a divisor of them, read column by column; no node. It moves into the
// weights of its neighbours where it can.
sepconv_status sepconv_builder_shuffle(sepconv_builder *builder,
                                       sepconv_tensor input,
                                       size_t groups,
                                       sepconv_tensor *output);

// Writes a handle of the graph of `network`; an error where a name is unknown, or the numbers make no network.
sepconv_status sepconv_graph_network(const sepconv_network *network, sepconv_graph **graph);

// Writes a handle of the graph that a safetensors file of `length` bytes is for: architecture, width, classes and whether
// there is a classifier, by its metadata or by the names and shapes of its tensors. The bytes are not kept;
// `sepconv_plan_new` takes them again.
//
// An error where the bytes are no safetensors file, or its tensors are those of no network.
sepconv_status sepconv_graph_load(const uint8_t *safetensors,
                                  size_t length,
                                  sepconv_graph **graph);

// Frees a graph. Plans of it live on. Null is nothing to free.
sepconv_status sepconv_graph_free(sepconv_graph *graph);

// Writes the multiply-accumulates of one image, and the trainable parameters; a null pointer is not written.
sepconv_status sepconv_graph_size(const sepconv_graph *graph, uint64_t *macs, uint64_t *parameters);

// Packs a pointwise convolution for the kernels of `isa` (null: see `sepconv_isa_chosen`), and writes its handle.
//
// An error where a length is not that of `what`, or the groups do not divide the channels.
sepconv_status sepconv_pointwise_new(const char *isa,
                                     const sepconv_pointwise *what,
                                     const sepconv_weights *weights,
                                     sepconv_layer **layer);

// Packs a depthwise convolution of `channels` channels, each under `window` by itself: 3x3 or 5x5 with a stride of 1 or
// 2 both ways, 3x3 with a dilation of 2 or 4, 1x3 or 3x1. `input_lo`, where it is not null, is a number that inputs are
// clamped to from below before they are used.
//
// An error where a length is not that of the window and the channels, or there is no kernel for the window.
sepconv_status sepconv_depthwise_new(const char *isa,
                                     size_t channels,
                                     const sepconv_window *window,
                                     const float *input_lo,
                                     const sepconv_weights *weights,
                                     sepconv_layer **layer);

// Packs a dense convolution of `inputs` to `outputs` channels under `window`, of any size and strides, without dilation,
// its padding no larger than the window.
//
// An error where a length is not that of the window and the channels, or the window is none of these.
sepconv_status sepconv_conv_new(const char *isa,
                                size_t inputs,
                                size_t outputs,
                                const sepconv_window *window,
                                const sepconv_weights *weights,
                                sepconv_layer **layer);

// Frees a layer, which no thread may be running. Null is nothing to free.
sepconv_status sepconv_layer_free(sepconv_layer *layer);

// Writes the shape of the whole output for an input of `height` x `width` pixels; an error where the window does not fit.
sepconv_status sepconv_layer_output(const sepconv_layer *layer,
                                    size_t height,
                                    size_t width,
                                    sepconv_shape *shape);

// Writes the number of output channels that those of a part begin and end at a multiple of, or at the last one.
sepconv_status sepconv_layer_channel_step(const sepconv_layer *layer, size_t *step);

// Writes the name of the kernel that the weights are packed for, such as `pw_f32_6x16_avx2`. It lives as long as the layer.
sepconv_status sepconv_layer_kernel(const sepconv_layer *layer,
                                    const char **name);

// Computes a part of the output (null: all of it) from the whole `input`: `clamp(bias + sum + residual)`. `output`, and
// `residual` where it is not null, have the size of the part, and begin with its first row and channel: threads that run
// one layer, each a part of its own, give the bits of one run. `output` must not overlap `input` or `residual`; slices of
// the channels of one array do not. Allocates nothing, unless it fails.
//
// An error where a size is another, or the part is none of this output.
sepconv_status sepconv_layer_run(const sepconv_layer *layer,
                                 const sepconv_part *part,
                                 const sepconv_image *input,
                                 const sepconv_image *residual,
                                 const sepconv_clamp *clamp,
                                 const sepconv_image_mut *output);

// The version of the library, such as `0.1.0`. Never null.
const char *sepconv_version(void);

// The number of the interface. A program that was built with a header of another `SEPCONV_ABI_VERSION` must not call
// anything else.
uint32_t sepconv_abi_version(void);

// The name of ISA number `index` of those that this CPU and this build support, from 0 on, the slowest first
// (`portable`, `neon`, `avx2`, `avx512`); null past the last.
const char *sepconv_isa_supported(size_t index);

// Writes the name of the ISA that an argument `isa` stands for: the one that it names, or, where it is null, the one that
// the environment variable `SEPCONV_ISA` names, or else the fastest. An error where the name is unknown, or the ISA cannot
// run here. Every function that takes an `isa` forces that one; nothing changes the choice of a packed layer or a plan.
sepconv_status sepconv_isa_chosen(const char *isa,
                                  const char **chosen);

// A dense convolution to `outputs` channels under a window of any size, without dilation. Weights O, I, kh, kw.
sepconv_status sepconv_builder_conv(sepconv_builder *builder,
                                    const char *name,
                                    sepconv_tensor input,
                                    size_t outputs,
                                    const sepconv_window *window,
                                    const sepconv_parameters *parameters,
                                    const sepconv_clamp *clamp,
                                    sepconv_tensor *output);

// A depthwise convolution: each channel under a window of its own, one of those that `sepconv_depthwise_new` has kernels
// for (a plan refuses others). Weights C, 1, kh, kw.
sepconv_status sepconv_builder_depthwise(sepconv_builder *builder,
                                         const char *name,
                                         sepconv_tensor input,
                                         const sepconv_window *window,
                                         const sepconv_parameters *parameters,
                                         const sepconv_clamp *clamp,
                                         sepconv_tensor *output);

// A pointwise (1x1) convolution to `outputs` channels in `groups` (1, or a divisor of inputs and outputs): equal slices of
// the input channels, each to an equal slice of the outputs. Weights O, I of a group, 1, 1.
sepconv_status sepconv_builder_pointwise(sepconv_builder *builder,
                                         const char *name,
                                         sepconv_tensor input,
                                         size_t outputs,
                                         size_t groups,
                                         const sepconv_parameters *parameters,
                                         const sepconv_clamp *clamp,
                                         sepconv_tensor *output);

// A fully connected layer to `outputs` channels; its input has one pixel. Weights O, I.
sepconv_status sepconv_builder_fully_connected(sepconv_builder *builder,
                                               const char *name,
                                               sepconv_tensor input,
                                               size_t outputs,
                                               const sepconv_parameters *parameters,
                                               const sepconv_clamp *clamp,
                                               sepconv_tensor *output);

// A fully connected layer to `outputs` channels from all elements of an image, which `order` (one of `sepconv_flatten`)
// lays out in one row. Weights outputs x elements.
sepconv_status sepconv_builder_flattened(sepconv_builder *builder,
                                         const char *name,
                                         sepconv_tensor input,
                                         uint32_t order,
                                         size_t outputs,
                                         const sepconv_parameters *parameters,
                                         const sepconv_clamp *clamp,
                                         sepconv_tensor *output);

// A leaky ReLU, `x < 0 ? x * slope : x`, then the batch normalisation of `parameters`, which have no weights, then the
// clamp.
sepconv_status sepconv_builder_leaky_norm(sepconv_builder *builder,
                                          const char *name,
                                          sepconv_tensor input,
                                          float slope,
                                          const sepconv_parameters *parameters,
                                          const sepconv_clamp *clamp,
                                          sepconv_tensor *output);

// The sum of two tensors of one shape, clamped.
sepconv_status sepconv_builder_add(sepconv_builder *builder,
                                   const char *name,
                                   sepconv_tensor a,
                                   sepconv_tensor b,
                                   const sepconv_clamp *clamp,
                                   sepconv_tensor *output);

// A clamp by itself: a plan makes it part of its neighbours where it can.
sepconv_status sepconv_builder_clamp(sepconv_builder *builder,
                                     const char *name,
                                     sepconv_tensor input,
                                     const sepconv_clamp *clamp,
                                     sepconv_tensor *output);

// Max pooling. Padding never counts.
sepconv_status sepconv_builder_max_pool(sepconv_builder *builder,
                                        const char *name,
                                        sepconv_tensor input,
                                        const sepconv_window *window,
                                        sepconv_tensor *output);

// Average pooling, over all taps where `count_padding` is not 0, else over those inside the image.
sepconv_status sepconv_builder_average_pool(sepconv_builder *builder,
                                            const char *name,
                                            sepconv_tensor input,
                                            const sepconv_window *window,
                                            int count_padding,
                                            sepconv_tensor *output);

// The mean of each channel: an image of one pixel.
sepconv_status sepconv_builder_global_average_pool(sepconv_builder *builder,
                                                   const char *name,
                                                   sepconv_tensor input,
                                                   sepconv_tensor *output);

// Packs the weights of `graph` out of a safetensors file of `length` bytes (tensors of f32, f16 or bf16; names of
// torchvision, timm, Keras or TF-slim for a network of the literature), and writes the handle of a plan, whose work is cut
// for as many threads as `threads` has. It runs on any others too, to the same bits. The bytes are not kept.
//
// An error where the weights do not fit, the ISA cannot run here, or a layer has no kernel.
sepconv_status sepconv_plan_new(const sepconv_graph *graph,
                                const uint8_t *safetensors,
                                size_t length,
                                const sepconv_threads *threads,
                                const sepconv_plan_options *options,
                                sepconv_plan **plan);

// As `sepconv_plan_new`, with `count` arrays by name; none where all parameters of the graph were given as arrays. An array
// that the graph has no use for is an error.
sepconv_status sepconv_plan_from_arrays(const sepconv_graph *graph,
                                        const sepconv_named_array *arrays,
                                        size_t count,
                                        const sepconv_threads *threads,
                                        const sepconv_plan_options *options,
                                        sepconv_plan **plan);

// As `sepconv_plan_new`, with weights that are made from their names, to run and to measure a network without a file.
sepconv_status sepconv_plan_from_names(const sepconv_graph *graph,
                                       const sepconv_threads *threads,
                                       const sepconv_plan_options *options,
                                       sepconv_plan **plan);

// Writes the handle of the same plan for `batch` images a run (0 stands for 1). It shares the packed weights, which are
// freed with the last of them.
sepconv_status sepconv_plan_with_batch(const sepconv_plan *plan, size_t batch, sepconv_plan **other);

// Frees a plan, which no thread may be running. Null is nothing to free.
sepconv_status sepconv_plan_free(sepconv_plan *plan);

// Writes how many inputs and outputs there are; a null pointer is not written.
sepconv_status sepconv_plan_counts(const sepconv_plan *plan, size_t *inputs, size_t *outputs);

// Writes the name and the shape of input `index`.
sepconv_status sepconv_plan_input(const sepconv_plan *plan, size_t index, sepconv_port *input);

// Writes the name and the shape of output `index`.
sepconv_status sepconv_plan_output(const sepconv_plan *plan, size_t index, sepconv_port *output);

// Writes the name of the ISA whose kernels run. It lives for ever.
sepconv_status sepconv_plan_isa(const sepconv_plan *plan, const char **isa);

// Writes how many bytes of workspace a run needs. Inputs and outputs are no part of it.
sepconv_status sepconv_plan_workspace_bytes(const sepconv_plan *plan, size_t *bytes);

// Runs a plan on the caller's threads (null: the calling one) in the caller's memory: `workspace` is at a multiple of
// `SEPCONV_WORKSPACE_ALIGNMENT` bytes and holds at least `sepconv_plan_workspace_bytes`; its contents do not matter before
// and after, and it may be null where that is 0 bytes. `inputs` and `outputs` are one batch for each of the plan's, of as
// many images as it was made for. Outputs must overlap neither inputs nor each other, which is not found; inputs and
// outputs in the workspace are.
//
// Allocates nothing, unless it fails. An error, before anything is computed, where a count or a shape is not the plan's, or
// memory is too small.
sepconv_status sepconv_plan_run(const sepconv_plan *plan,
                                const sepconv_threads *threads,
                                void *workspace,
                                size_t workspace_bytes,
                                const sepconv_batch *inputs,
                                size_t input_count,
                                const sepconv_batch_mut *outputs,
                                size_t output_count);

// Writes a plan as a blob, which `sepconv_plan_load` makes the same plan of, and how many bytes it has. Where `blob` is null
// and `capacity` is 0, the number alone.
//
// An error where `capacity` is less than that.
sepconv_status sepconv_plan_save(const sepconv_plan *plan,
                                 void *blob,
                                 size_t capacity,
                                 size_t *length);

// Writes the handle of the plan that `sepconv_plan_save` made `length` bytes at `blob` of: for as many images and threads. A
// blob that begins at a multiple of `SEPCONV_WORKSPACE_ALIGNMENT` bytes, as a mapped file does, is not copied: it must stay as
// it is until the plan, and every other made of it by `sepconv_plan_with_batch`, is freed. Of any other blob the weights are
// copied, and it may be freed.
//
// `SEPCONV_STATUS_BLOB` where it is damaged; `SEPCONV_STATUS_OTHER_BLOB` where it was saved by another version of the library,
// for another ISA, for other kernels, or on a machine for which another plan would be made. Whatever the bytes are, nothing
// outside them is read.
sepconv_status sepconv_plan_load(const void *blob,
                                 size_t length,
                                 const sepconv_load_options *options,
                                 sepconv_plan **plan);

// What the last failed call on this thread said: UTF-8, never null, empty where none failed yet. It stays as it is until
// the next call that fails on this thread.
const char *sepconv_last_message(void);

// The name of a status, such as `SEPCONV_STATUS_SHAPE`; `unknown` for a number that is none. Never null.
const char *sepconv_status_name(int32_t status);

// A window of `size` x `size` taps without dilation, moved by `stride`, with half its size as padding on each side, as
// PyTorch's models have it. Whether it is one that a layer takes, the layer says.
sepconv_window sepconv_window_symmetric(size_t size, size_t stride);

// The same with TensorFlow's SAME padding for an image of `height` x `width`: as many outputs as strides fit, the odd
// pixel after.
sepconv_window sepconv_window_same(size_t size, size_t stride, size_t height, size_t width);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SEPCONV_H */
