/* Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.
 *
 * Writes a file of measurements as C programs do, structs as they lie in memory; measurements.erl reads it.
 *
 *     cc -o /tmp/measurements examples/measurements.c && /tmp/measurements /tmp/measurements.bin
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct header {
    char magic[4];
    uint16_t version;
    uint32_t count;
};

struct measurement {
    uint8_t sensor;
    double value;
    int16_t error;
    char unit[6];
    int64_t time;
};

int main(int argc, char **argv) {
    static const char *units[] = {"C", "hPa", "%"};
    struct header header = {.magic = {'M', 'E', 'A', 'S'}, .version = 2, .count = 3};

    if (argc != 2) {
        fputs("usage: measurements FILE\n", stderr);
        return 2;
    }
    FILE *file = fopen(argv[1], "wb");
    if (!file || fwrite(&header, sizeof header, 1, file) != 1)
        return 1;
    for (uint32_t i = 0; i < header.count; i++) {
        struct measurement one = {.sensor = 250 + i, .value = 20.5 * (i + 1), .error = -(int16_t)i,
                                  .time = 1700000000LL + i};
        strncpy(one.unit, units[i], sizeof one.unit);
        if (fwrite(&one, sizeof one, 1, file) != 1)
            return 1;
    }
    return fclose(file) != 0;
}
