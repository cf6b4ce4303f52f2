/* Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.
 *
 * Prints the counters of emmap_named_counters, of a node that runs or of one that was killed; so does recorder.erl.
 *
 *     ERL_LIBS=_build/default/lib escript examples/recorder.erl /dev/shm/recorded add requests 3
 *     cc -o /tmp/recorder examples/recorder.c && /tmp/recorder /dev/shm/recorded
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* All words are little-endian. */
struct header {
    char magic[8];
    uint64_t capacity;
    char unused[112];
};

struct slot {
    uint64_t state;  /* its last two bits: 0 free, 1 a counter, 2 removed */
    int64_t value;
    uint64_t length;
    char label[104];
};

int main(int argc, char **argv) {
    struct stat status;

    if (argc != 2) {
        fputs("usage: recorder FILE\n", stderr);
        return 2;
    }
    int file = open(argv[1], O_RDONLY);
    if (file < 0 || fstat(file, &status) < 0) {
        perror(argv[1]);
        return 1;
    }
    size_t slots = status.st_size / sizeof(struct slot);
    const struct header *header = slots == 0 ? MAP_FAILED : mmap(NULL, status.st_size, PROT_READ, MAP_SHARED, file, 0);
    if (header == MAP_FAILED || memcmp(header->magic, "EMMAPNC1", 8) != 0 || header->capacity >= slots) {
        fprintf(stderr, "%s: not a file of named counters\n", argv[1]);
        return 1;
    }
    const struct slot *slot = (const struct slot *)(header + 1);
    for (const struct slot *end = slot + header->capacity; slot < end; slot++) {
        /* Acquiring: whoever sees the state sees the label, too. */
        if ((__atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) & 3) == 1 && slot->length <= sizeof slot->label)
            printf("%.*s %lld\n", (int)slot->length, slot->label,
                   (long long)__atomic_load_n(&slot->value, __ATOMIC_RELAXED));
    }
    return 0;
}
