/* The memory functions that GCC calls even in freestanding code. */
#pragma once

#include <stddef.h>

void *memcpy(void *to, const void *from, size_t length);
void *memmove(void *to, const void *from, size_t length);
void *memset(void *to, int value, size_t length);
int memcmp(const void *left, const void *right, size_t length);
size_t strlen(const char *text);

/* A page, 8 bytes at a time: what a nested #VC does twice. */
void page_copy(void *to, const void *from);
