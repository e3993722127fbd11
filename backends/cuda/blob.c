/* The weights of a program as the runtime loads them: a head, a record for each
 * constant, and the data that ir/pack/weights.h streams. */
#include <stdlib.h>
#include <string.h>

#include "backends/cuda/host/prune_cuda_model.h"
#include "backends/cuda/write.h"
#include "ir/pack/pack.h"
#include "ir/pack/weights.h"
#include "ir/support/xxh64.h"

static const struct {
  const char *format;
  unsigned kind;
} kinds[] = {{"dense", PRUNE_CUDA_DENSE},
             {"nk", PRUNE_CUDA_NK},
             {"nm24", PRUNE_CUDA_NM24},
             {"bitmap", PRUNE_CUDA_BITMAP},
             {"bsr", PRUNE_CUDA_BSR}};

static prn_status kind_of(const prn_op *op, unsigned *out) {
  prn_str pack = prn_op_string(op, "pack", "dense");
  for (size_t i = 0; i < PRN_COUNT(kinds); i++)
    if (prn_str_is(pack, kinds[i].format)) {
      *out = kinds[i].kind;
      return PRN_OK;
    }
  return prn_op_error(op, "the CUDA backend has no weights packed as '%.*s'",
                      PRN_STR_ARG(pack));
}

static prn_status record(const prn_op *op, prn_cu_record *r) {
  prn_packing p = prn_packing_of(op);
  int64_t size;
  PRN_TRY(kind_of(op, &r->kind));
  const prn_pack_format *f = prn_pack_find(prn_op_string(op, "pack", "dense"));
  if (!f || !f->size(&p, &size))
    return prn_op_error(op, "cannot be packed as '%.*s'",
                        PRN_STR_ARG(prn_op_string(op, "pack", "dense")));
  bool matrix = r->kind != PRUNE_CUDA_DENSE;
  r->name = p.t->name;
  r->type = op->results[0].type->dtype;
  r->k = matrix ? p.k : 0;
  r->n = matrix ? p.n : prn_tensor_count(p.t);
  r->offset = (uint64_t)prn_op_int(op, "offset", 0);
  r->size = (uint64_t)size;
  r->op = op;
  return PRN_OK;
}

static prn_status collect(void *user, prn_op *op) {
  prn_cu_blob *b = user;
  if (!prn_op_is(op, PRN_OP_mem_constant)) return PRN_OK;
  if (b->num == b->cap) {
    b->cap = b->cap ? b->cap * 2 : 64;
    b->at = prn_realloc(b->at, prn_array_size(sizeof *b->at, b->cap));
  }
  PRN_TRY(record(op, &b->at[b->num]));
  b->num++;
  return PRN_OK;
}

static int by_offset(const void *a, const void *b) {
  uint64_t x = ((const prn_cu_record *)a)->offset;
  uint64_t y = ((const prn_cu_record *)b)->offset;
  return x < y ? -1 : x > y;
}

static void add(void *user, const void *data, size_t size) {
  prn_xxh64_add(user, data, size);
}

prn_status prn_cu_blob_of(const prn_cu *c, prn_cu_blob *out) {
  prn_xxh64_state hash;
  uint32_t kept = 0;
  memset(out, 0, sizeof *out);
  PRN_TRY(prn_walk(c->body, true, collect, out));
  if (out->num) qsort(out->at, out->num, sizeof *out->at, by_offset);
  /* Two constants of the same bytes share a place. */
  for (uint32_t i = 0; i < out->num; i++)
    if (i == 0 || out->at[i].offset != out->at[kept - 1].offset)
      out->at[kept++] = out->at[i];
  out->num = kept;
  out->size = (uint64_t)prn_weights_size(c->func);
  prn_xxh64_begin(&hash, 0);
  prn_weights_write(&(prn_weights){&c->func, 1}, add, &hash);
  out->hash = prn_xxh64_end(&hash);
  return PRN_OK;
}

uint32_t prn_cu_blob_find(const prn_cu_blob *blob, const prn_op *op,
                          uint32_t i) {
  const prn_op *w = prn_cu_constant(prn_op_operand(op, i));
  uint64_t offset = (uint64_t)prn_op_int(w, "offset", 0);
  uint32_t r = 0;
  while (blob->at[r].offset != offset)
    r++;
  return r;
}

static void put(void *user, const void *data, size_t size) {
  prn_out_write(user, data, size);
}

void prn_cu_blob_write(const prn_cu *c, const prn_cu_blob *blob, prn_out *out) {
  static const char zeros[PRUNE_CUDA_BLOB_ALIGN];
  size_t at = sizeof(prune_cuda_blob) +
              (size_t)blob->num * sizeof(prune_cuda_blob_record);
  size_t pad = (PRUNE_CUDA_BLOB_ALIGN - at % PRUNE_CUDA_BLOB_ALIGN) %
               PRUNE_CUDA_BLOB_ALIGN;
  prune_cuda_blob head = {.magic = PRUNE_CUDA_BLOB_MAGIC,
                          .version = PRUNE_CUDA_BLOB_VERSION,
                          .num_records = blob->num,
                          .data_offset = at + pad,
                          .data_size = blob->size,
                          .hash = blob->hash};
  prn_out_write(out, &head, sizeof head);
  for (uint32_t i = 0; i < blob->num; i++) {
    const prn_cu_record *r = &blob->at[i];
    prune_cuda_blob_record row = {.name =
                                      prn_xxh64(r->name.data, r->name.size, 0),
                                  .kind = (int32_t)r->kind,
                                  .type = (int32_t)r->type,
                                  .k = r->k,
                                  .n = r->n,
                                  .offset = r->offset,
                                  .size = r->size};
    prn_out_write(out, &row, sizeof row);
  }
  prn_out_write(out, zeros, pad);
  prn_weights_write(&(prn_weights){&c->func, 1}, put, out);
}
