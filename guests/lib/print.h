/*
 * printf for a serial line: %s %c %% %d %u %x, with l for 64 bits, a width and a leading 0 (as in %016lx). Nothing else.
 */
#pragma once

#include <stdarg.h>

void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
void print_arguments(const char *format, va_list arguments);
