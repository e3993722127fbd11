/* The smallest model, as the compiler writes it: y[n] = x[n] + w[n % 4]. */
#include "prune_cuda_model.h"

enum { ZERO, ONE, BLOCKS, N, NUM_SIZES };

static int bind(const int64_t *const *inputs, int64_t *symbols) {
  symbols[0] = inputs[0][0];
  return 0;
}
static int sizes(const int64_t *symbols, int64_t *out) {
  out[ZERO] = 0;
  out[ONE] = 1;
  out[BLOCKS] = symbols[0] / 128 + (symbols[0] % 128 != 0);
  out[N] = symbols[0];
  return 1;
}
static const int64_t dims[] = {-1};
static const char *const names[] = {"n"};
static const prune_cuda_value inputs[] = {{"x", 1, 1, dims, names}};
static const prune_cuda_value outputs[] = {{"y", 1, 1, dims, names}};
static const uint32_t output_dims[] = {N};
static const prune_cuda_kernel kernels[] = {{"add_k0", 128, 0}};
static const prune_cuda_pointer pointers[] = {{PRUNE_CUDA_ARGUMENT, 0, ZERO},
                                              {PRUNE_CUDA_WEIGHTS, 0, ZERO},
                                              {PRUNE_CUDA_ARGUMENT, 1, ZERO}};
static const prune_cuda_variant variants[] = {{PRUNE_CUDA_KERNEL,
                                               0,
                                               {BLOCKS, ONE, ONE},
                                               0,
                                               N,
                                               0,
                                               INT64_MAX,
                                               "a thread for each element",
                                               0}};
static const prune_cuda_step steps[] = {
    {"add", "mem.map", pointers, 3, variants, 1, NULL}};
static const prune_cuda_record records[] = {
    {"w", PRUNE_CUDA_DENSE, 1, 0, 4, 0, 16}};
extern const prune_cuda_image add_images[];
extern const prune_cuda_model add_cuda;
const prune_cuda_model add_cuda = {
    .version = PRUNE_CUDA_MODEL,
    .name = "add",
    .num_inputs = 1,
    .num_outputs = 1,
    .num_symbols = 1,
    .num_sizes = NUM_SIZES,
    .num_pointers = 3,
    .inputs = inputs,
    .outputs = outputs,
    .bind = bind,
    .sizes = sizes,
    .arena = ZERO,
    .output_dims = output_dims,
    .kernels = kernels,
    .num_kernels = 1,
    .steps = steps,
    .num_steps = 1,
    .records = records,
    .num_records = 1,
    .weights_size = 16,
    .weights_hash = UINT64_C(0x7c0e02dddc371a40),
    .images = add_images,
};
