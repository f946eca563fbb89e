/* memcpy and its kin, as string instructions: a loop written in C here would be compiled into a call of itself. */
#include "memory.h"

#include <stdint.h>

#include "page.h"

void *memcpy(void *to, const void *from, size_t length) {
  void *at = to;
  asm volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(length) : : "memory");
  return to;
}

void page_copy(void *to, const void *from) {
  uint64_t count = PAGE_SIZE / 8;
  asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
}

void *memmove(void *to, const void *from, size_t length) {
  if (to <= from) return memcpy(to, from, length);
  void *last_to = (char *)to + length - 1;
  const void *last_from = (const char *)from + length - 1;
  asm volatile("std; rep movsb; cld" : "+D"(last_to), "+S"(last_from), "+c"(length) : : "memory");
  return to;
}

void *memset(void *to, int value, size_t length) {
  void *at = to;
  asm volatile("rep stosb" : "+D"(at), "+c"(length) : "a"(value) : "memory");
  return to;
}

int memcmp(const void *left, const void *right, size_t length) {
  const unsigned char *a = left, *b = right;
  for (size_t i = 0; i < length; i++)
    if (a[i] != b[i]) return a[i] - b[i];
  return 0;
}

size_t strlen(const char *text) {
  size_t length = 0;
  while (text[length]) length++;
  return length;
}
