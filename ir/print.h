/* State of printing a module. Private to ir/print*.c. */
#ifndef PRN_IR_PRINT_H
#define PRN_IR_PRINT_H

#include "ir/text.h"

/* Data kept out of line: a blob, or the strings of a tensor. */
typedef struct prn_resource {
  prn_str key;
  const prn_blob *blob;
  const prn_str *strings;
  int64_t num_strings;
} prn_resource;

typedef struct prn_printer {
  prn_strbuf buf;
  prn_write_fn *write; /* NULL: everything stays in buf */
  void *user;
  prn_print_options options;
  /* Names: how many visible values have this name (key: interned data), the
   * number behind a repeated name or of an unnamed value, and the names to
   * take back at the end of a block. */
  prn_ptrmap visible, numbers;
  const char **claimed;
  size_t num_claimed, cap_claimed;
  uint64_t next_number;
  size_t splat_bytes; /* of repeated values printed so far */
  /* Resources in order; the key of a blob or string list; how often a key was
   * asked for. keys lives in arena. */
  prn_resource *resources;
  size_t num_resources, cap_resources;
  prn_ptrmap resource_of;
  prn_map keys;
  prn_arena arena;
} prn_printer;

/* What an operation says about an attribute of its own, so that the text need
 * not repeat it. */
typedef struct prn_print_hint {
  const prn_type *type; /* a tensor of this type needs none in the text */
  prn_str name;         /* a tensor of this name needs none in the text */
  prn_str key;          /* base of resource names; may be empty */
} prn_print_hint;

/* p may be NULL: then resources are named but not collected. */
void prn_print_attr(prn_strbuf *b, prn_printer *p, const prn_attr *a,
                    const prn_print_hint *hint);
void prn_print_tensor(prn_strbuf *b, prn_printer *p, const prn_tensor *t,
                      const prn_print_hint *hint);
void prn_print_strings(prn_strbuf *b, const prn_str *s, int64_t n);
void prn_print_hex(prn_strbuf *b, const void *data, size_t size);
void prn_print_int(prn_strbuf *b, int64_t v);
/* The key under which the blob or string list is listed. */
prn_str prn_print_resource(prn_printer *p, const prn_resource *r, prn_str base);
void prn_print_resources(prn_printer *p);
/* Hands buf to the writer when it is long. */
void prn_print_flush(prn_printer *p, bool all);

#endif
