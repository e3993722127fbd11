/* Protobuf out, as a stream.
 *
 * The same code runs twice: the first pass, without a file, measures every
 * message; the second writes. So nothing is built in memory but one number for
 * each message, and weights go from their mapping to the file. */
#ifndef PRN_BACKENDS_ONNX_ENCODE_H
#define PRN_BACKENDS_ONNX_ENCODE_H

#include "ir/support/file.h"

typedef struct prn_encoder {
  prn_out *out;      /* NULL while measuring */
  uint64_t pos;      /* bytes so far */
  uint64_t *lengths; /* of messages, in order of their beginning */
  size_t num, cap, next;
} prn_encoder;

void prn_enc_destroy(prn_encoder *e);
/* Ends measuring: what follows repeats the same calls and goes to out. */
void prn_enc_rewind(prn_encoder *e, prn_out *out);

/* Bytes as they are. */
void prn_enc_raw(prn_encoder *e, const void *data, size_t size);
void prn_enc_varint(prn_encoder *e, uint64_t v);
size_t prn_enc_varint_size(uint64_t v);
void prn_enc_int(prn_encoder *e, unsigned field, int64_t v);
void prn_enc_float(prn_encoder *e, unsigned field, float v);
/* A string or bytes. */
void prn_enc_str(prn_encoder *e, unsigned field, prn_str s);
/* The header of a field of `size` bytes that follow by prn_enc_raw. */
void prn_enc_header(prn_encoder *e, unsigned field, uint64_t size);
/* A nested message; end takes what begin gave. */
size_t prn_enc_begin(prn_encoder *e, unsigned field);
void prn_enc_end(prn_encoder *e, size_t mark);

#endif
