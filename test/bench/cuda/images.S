/* The kernels that are timed. A driver that is mocked looks at no more than how
 * an image begins. */
    .section .rodata
    .balign 64
1:
#ifdef BENCH_KERNELS
    .incbin "kernels.fatbin"
#else
    .byte 0x50, 0xed, 0x55, 0xba
#endif
2:
    .section .data.rel.ro, "aw"
    .balign 8
    .globl bench_images
    .type bench_images, %object
bench_images:
    .quad 1b, 2b - 1b, 0
    .quad 0, 0, 0
    .size bench_images, . - bench_images
    .section .note.GNU-stack, "", %progbits
