/*
 * A program in ring 3 that may use one port, by the I/O permission map (APM vol. 2, 12.2.4), and another processor that changes the port in its
 * code: what the processor has checked is not what a handler finds.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Lets the program write to its port some thousand times. Where there is no second processor nobody changes it. */
void race_run(void);

/* What the map says. */
bool race_port_is_mapped(uint16_t port);
