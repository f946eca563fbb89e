/* Interprocessor interrupts: the interrupt command register of the local APIC (APM vol. 2, 16.5). Vectors from 32 on. */
#pragma once

#include <stdint.h>

#include "apic.h"

#define ICR_LOGICAL (1u << 11)
#define ICR_SELF    (1u << 18)
#define ICR_OTHERS  (3u << 18)

static inline void ipi(uint32_t destination, unsigned vector) {
  apic_send(destination, APIC_ASSERT | APIC_TYPE_FIXED | vector);
}

/* The shorthands: the destination does not count. */
static inline void ipi_others(unsigned vector) {
  apic_send(0, APIC_ASSERT | ICR_OTHERS | APIC_TYPE_FIXED | vector);
}

static inline void ipi_self(unsigned vector) {
  apic_send(0, APIC_ASSERT | ICR_SELF | APIC_TYPE_FIXED | vector);
}

/* To those of a cluster of 16 that the mask names, a bit each: the logical destinations of x2APIC mode (16.10). */
static inline void ipi_cluster(unsigned cluster, unsigned mask, unsigned vector) {
  apic_send(cluster << 16 | mask, APIC_ASSERT | ICR_LOGICAL | APIC_TYPE_FIXED | vector);
}

static inline void ipi_nmi(uint32_t destination) {
  apic_send(destination, APIC_ASSERT | APIC_TYPE_NMI);
}

static inline void ipi_init(uint32_t destination) {
  apic_send(destination, APIC_ASSERT | APIC_TYPE_INIT);
}

/* `page`: where a processor without SEV-ES begins, below 1 MiB. */
static inline void ipi_startup(uint32_t destination, unsigned page) {
  apic_send(destination, APIC_ASSERT | APIC_TYPE_STARTUP | page);
}
