/*
 * The local APIC (APM vol. 2, chapter 16): in x2APIC mode where there is one, through MSRs; else through its page. Under SEV-ES
 * each access is a #VC either way.
 */
#pragma once

#include <stdint.h>

#define APIC_ID             0x20
#define APIC_EOI            0xb0
#define APIC_SPURIOUS       0xf0
#define APIC_COMMAND        0x300
#define APIC_COMMAND_HIGH   0x310
#define APIC_TIMER          0x320
#define APIC_LINT0          0x350
#define APIC_LINT1          0x360
#define APIC_TIMER_INITIAL  0x380
#define APIC_TIMER_CURRENT  0x390
#define APIC_TIMER_DIVIDE   0x3e0

/* Fields of the command register and of the local vector table. */
#define APIC_TYPE_FIXED      (0u << 8)
#define APIC_TYPE_NMI        (4u << 8)
#define APIC_TYPE_INIT       (5u << 8)
#define APIC_TYPE_STARTUP    (6u << 8)
#define APIC_TYPE_EXTERNAL   (7u << 8)
#define APIC_ASSERT          (1u << 14)
#define APIC_MASKED          (1u << 16)
#define APIC_TIMER_ONE_SHOT  (0u << 17)
#define APIC_TIMER_PERIODIC  (1u << 17)
#define APIC_TIMER_DEADLINE  (2u << 17)
#define APIC_DIVIDE_BY_1     0xb

/* Vectors from here on are interrupts; the spurious one needs no end of interrupt. */
#define VECTOR_SPURIOUS 0xff

/* Enables the APIC of the processor that executes this. */
void apic_load(void);
uint32_t apic_id(void);

uint32_t apic_read(unsigned offset);
void apic_write(unsigned offset, uint32_t value);
void apic_end_of_interrupt(void);

/* Sends a message to the APIC of that number. */
void apic_send(uint32_t destination, uint32_t command);
