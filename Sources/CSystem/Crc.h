#ifndef EMMAP_CRC_H
#define EMMAP_CRC_H

// CRC32C (Castagnoli; RFC 3720, appendix B.4), by the processor's instruction and by a table. Both take and return the
// register as it is: the caller inverts it at the start and at the end.

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

// Not inlined: few processors need it.
static __attribute__((noinline)) uint32_t crc32c_table(uint32_t crc, const void *bytes, size_t count) {
  // What half a byte does to the register.
  static const uint32_t table[16] = {
      0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
      0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
  const unsigned char *next = (const unsigned char *)bytes;
  while (count-- > 0) {
    crc ^= *next++;
    crc = table[crc & 15] ^ (crc >> 4);
    crc = table[crc & 15] ^ (crc >> 4);
  }
  return crc;
}

#if defined(__x86_64__)

// CPUID, leaf 1: SSE4.2. Not by cpuid.h: that is part of a module of its own for Swift, with half of libc in it.
static inline _Bool crc32c_has_instruction(void) {
  unsigned a = 1, b, c = 0, d;
  __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  return c >> 20 & 1;
}

// In assembly, because a function that is compiled for SSE4.2 would not be inlined into others. From registers: where
// memory would do, too, clang stores the word to read it again.
static inline uint32_t crc32c_instruction_word(uint32_t crc, uint64_t word) {
  uint64_t wide = crc;
  __asm__("crc32q %1, %0" : "+r"(wide) : "r"(word));
  return (uint32_t)wide;
}

static inline uint32_t crc32c_instruction(uint32_t crc, const void *bytes, size_t count) {
  typedef const char word[8];
  const unsigned char *next = (const unsigned char *)bytes;
  uint64_t wide = crc;
  for (; count >= 32; count -= 32, next += 32) {
    word *words = (word *)next;
    __asm__("crc32q %1, %0\n\tcrc32q %2, %0\n\tcrc32q %3, %0\n\tcrc32q %4, %0"
            : "+r"(wide)
            : "m"(words[0]), "m"(words[1]), "m"(words[2]), "m"(words[3]));
  }
  for (; count >= 8; count -= 8, next += 8) __asm__("crc32q %1, %0" : "+r"(wide) : "m"(*(word *)next));
  crc = (uint32_t)wide;
  if (count & 4) {
    uint32_t word;
    memcpy(&word, next, 4);
    __asm__("crc32l %1, %0" : "+r"(crc) : "r"(word));
    next += 4;
  }
  for (count &= 3; count > 0; count--) __asm__("crc32b %1, %0" : "+r"(crc) : "r"(*next++));
  return crc;
}

#elif defined(__aarch64__)

// HWCAP_CRC32
static inline _Bool crc32c_has_instruction(void) { return getauxval(AT_HWCAP) >> 7 & 1; }

static inline uint32_t crc32c_instruction_word(uint32_t crc, uint64_t word) {
  __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(word));
  return crc;
}

static inline uint32_t crc32c_instruction(uint32_t crc, const void *bytes, size_t count) {
  const unsigned char *next = (const unsigned char *)bytes;
  for (; count >= 8; count -= 8, next += 8) {
    uint64_t word;
    memcpy(&word, next, 8);
    __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(word));
  }
  for (; count > 0; count--) {
    __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"((uint32_t)*next));
    next++;
  }
  return crc;
}

#else

static inline _Bool crc32c_has_instruction(void) { return 0; }
static inline uint32_t crc32c_instruction_word(uint32_t crc, uint64_t word) { return crc32c_table(crc, &word, 8); }
static inline uint32_t crc32c_instruction(uint32_t crc, const void *bytes, size_t count) {
  return crc32c_table(crc, bytes, count);
}

#endif

#endif
