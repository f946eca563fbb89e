/* COM1, a 16550 with a FIFO of 16 bytes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define COM1 0x3f8

void serial_load(void);
/* Before serial_load() nothing can be said: under SEV-ES a port access needs the GHCB. */
bool serial_is_ready(void);
void serial_write(const char *text, size_t length);
