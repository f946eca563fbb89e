/* Formats into a buffer of one line's size that is flushed as it fills: fewer, longer writes. */
#include "print.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory.h"
#include "serial.h"

struct line {
  char text[128];
  size_t length;
};

static void flush(struct line *line) {
  serial_write(line->text, line->length);
  line->length = 0;
}

static void put(struct line *line, char c) {
  if (line->length == sizeof line->text) flush(line);
  line->text[line->length++] = c;
}

struct conversion {
  bool zeros; /* pad with zeros instead of blanks */
  bool is_long;
  unsigned width;
  char kind;
};

static struct conversion read_conversion(const char **format) {
  struct conversion result = {0};
  const char *at = *format;
  if (*at == '0') result.zeros = true, at++;
  while (*at >= '0' && *at <= '9') result.width = result.width * 10 + (*at++ - '0');
  if (*at == 'l') result.is_long = true, at++;
  result.kind = *at;
  if (*at) at++;
  *format = at;
  return result;
}

static void put_padded(struct line *line, const struct conversion *how, const char *text, size_t length) {
  for (size_t i = length; i < how->width; i++) put(line, how->zeros ? '0' : ' ');
  for (size_t i = 0; i < length; i++) put(line, text[i]);
}

static void put_number(struct line *line, const struct conversion *how, uint64_t value, unsigned base, bool negative) {
  char digits[24];
  size_t first = sizeof digits;
  do {
    digits[--first] = "0123456789abcdef"[value % base];
    value /= base;
  } while (value);
  if (negative) digits[--first] = '-';
  put_padded(line, how, digits + first, sizeof digits - first);
}

static uint64_t unsigned_argument(const struct conversion *how, va_list *arguments) {
  return how->is_long ? va_arg(*arguments, uint64_t) : va_arg(*arguments, uint32_t);
}

static void convert(struct line *line, const struct conversion *how, va_list *arguments) {
  switch (how->kind) {
    case 's': {
      const char *text = va_arg(*arguments, const char *);
      put_padded(line, how, text, strlen(text));
      break;
    }
    case 'c':
      put(line, (char)va_arg(*arguments, int));
      break;
    case 'd': {
      int64_t value = how->is_long ? va_arg(*arguments, int64_t) : va_arg(*arguments, int32_t);
      put_number(line, how, value < 0 ? -(uint64_t)value : (uint64_t)value, 10, value < 0);
      break;
    }
    case 'u':
      put_number(line, how, unsigned_argument(how, arguments), 10, false);
      break;
    case 'x':
      put_number(line, how, unsigned_argument(how, arguments), 16, false);
      break;
    default:
      put(line, how->kind);
  }
}

void print_arguments(const char *format, va_list arguments) {
  struct line line = {.length = 0};
  va_list rest;
  va_copy(rest, arguments); /* so that its address can be passed on: an array parameter's cannot */
  while (*format) {
    char c = *format++;
    if (c != '%') {
      put(&line, c);
      continue;
    }
    struct conversion how = read_conversion(&format);
    convert(&line, &how, &rest);
  }
  va_end(rest);
  flush(&line);
}

void print(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  print_arguments(format, arguments);
  va_end(arguments);
}
