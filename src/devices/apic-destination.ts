// Whom a destination names. APM vol. 2, 16.6.1 (physical; logical by the flat and the cluster model), 16.10 (x2APIC).

import type { Fields, Stateful } from '../util/stateful.ts';
import { EVERYBODY } from './apic-message.ts';

const FLAT = 0xffff_ffff;
/** A physical destination of eight bits that names everybody. */
const BROADCAST = 0xff;

/** Logical ID in x2APIC mode: cluster in bits 31:16, one of sixteen bits below. */
export const x2apicLogical = (id: number): number => (((id >>> 4) << 16) | (1 << (id & 0xf))) >>> 0;

/** By what a local APIC is named: its ID, and in xAPIC mode what software wrote to LDR and DFR. */
export class ApicAddress implements Stateful {
  id = 0;
  #ldr = 0;
  #dfr = FLAT;

  reset(id: number): void {
    this.id = id;
    this.#ldr = 0;
    this.#dfr = FLAT;
  }

  get ldr(): number {
    return this.#ldr;
  }
  set ldr(value: number) {
    this.#ldr = value & 0xff00_0000;
  }

  get dfr(): number {
    return this.#dfr;
  }
  set dfr(value: number) {
    this.#dfr = value | 0x0fff_ffff;
  }

  isNamedBy(destination: number, logical: boolean, x2apic: boolean): boolean {
    if (!logical) return destination === this.id || destination === EVERYBODY || (destination === BROADCAST && !x2apic);
    return x2apic ? matchesCluster(destination, this.id) : matchesLogical(destination, this.#ldr >>> 24, this.#dfr >>> 28);
  }

  exchange(fields: Fields): void {
    this.id = fields.value(this.id);
    this.#ldr = fields.value(this.#ldr);
    this.#dfr = fields.value(this.#dfr);
  }
}

/** xAPIC mode; `own`: bits 31:24 of LDR, `model`: bits 31:28 of DFR. Flat: a bit each; cluster: four bits each in fifteen clusters. */
function matchesLogical(destination: number, own: number, model: number): boolean {
  if (model === 0xf) return (own & destination & 0xff) !== 0;
  const cluster = (destination >>> 4) & 0xf;
  return (cluster === 0xf || cluster === own >>> 4) && (own & destination & 0xf) !== 0;
}

/** x2APIC mode. */
function matchesCluster(destination: number, id: number): boolean {
  if (destination >>> 0 === EVERYBODY) return true;
  const own = x2apicLogical(id);
  return destination >>> 16 === own >>> 16 && (destination & own & 0xffff) !== 0;
}
