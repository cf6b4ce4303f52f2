/* Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.
 *
 * What answer.exs is, in C: answers ask.erl, which draws the memory, in capitals (of ASCII). In two terminals:
 *
 *     cc -o /tmp/answer examples/answer.c && /tmp/answer /dev/shm/mailbox
 *     ERL_LIBS=_build/default/lib escript examples/ask.erl /dev/shm/mailbox hello world
 */
#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct mailbox {
    int64_t turn, length, messages;
    char text[4072];
};

int main(int argc, char **argv) {
    if (argc != 2) {
        fputs("usage: answer FILE\n", stderr);
        return 2;
    }
    int file = open(argv[1], O_RDWR | O_CREAT, 0666);
    if (file < 0 || ftruncate(file, sizeof(struct mailbox)) < 0) {
        perror(argv[1]);
        return 1;
    }
    struct mailbox *box = mmap(NULL, sizeof *box, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (box == MAP_FAILED)
        return 1;
    for (;;) {
        int64_t turn = __atomic_load_n(&box->turn, __ATOMIC_SEQ_CST);
        if (turn == 3)
            break;
        if (turn == 1) {
            for (int64_t i = 0; i < box->length && i < (int64_t)sizeof box->text; i++)
                box->text[i] = toupper((unsigned char)box->text[i]);
            __atomic_fetch_add(&box->messages, 1, __ATOMIC_SEQ_CST);
            __atomic_store_n(&box->turn, 2, __ATOMIC_SEQ_CST);
            /* What emmap:notify/2 does; the lower half of the word comes first. */
            syscall(SYS_futex, &box->turn, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
        } else {
            /* What emmap:await/4 does: sleeps unless it has changed. */
            syscall(SYS_futex, &box->turn, FUTEX_WAIT, (uint32_t)turn, NULL, NULL, 0);
        }
    }
    puts("answered");
    return 0;
}
