/* Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.
 *
 *     turns FILE PLAYER STOP
 *
 * Two take turns at the first word of FILE: it is player 0's when it is even, and player 1's when it is odd, and whose it
 * is adds one. Ends when it has come to STOP.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc != 4)
        return 2;
    int64_t player = atoll(argv[2]), stop = atoll(argv[3]);
    int file = open(argv[1], O_RDWR);
    int64_t *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file < 0 || word == MAP_FAILED)
        return 1;
    for (;;) {
        int64_t now = __atomic_load_n(word, __ATOMIC_SEQ_CST);
        if (now >= stop)
            return 0;
        if (now % 2 == player) {
            __atomic_store_n(word, now + 1, __ATOMIC_SEQ_CST);
            syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
        } else {
            syscall(SYS_futex, word, FUTEX_WAIT, (uint32_t)now, NULL, NULL, 0);
        }
    }
}
