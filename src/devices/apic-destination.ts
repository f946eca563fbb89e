// Whom a logical destination names. APM vol. 2, 16.6.1 (flat and cluster model), 16.10 (x2APIC).

/** Logical ID in x2APIC mode: cluster in bits 31:16, one of sixteen bits below. */
export const x2apicLogical = (id: number): number => (((id >>> 4) << 16) | (1 << (id & 0xf))) >>> 0;

/** xAPIC mode; `own`: bits 31:24 of LDR, `model`: bits 31:28 of DFR. Flat: a bit each; cluster: four bits each in fifteen clusters. */
export function matchesLogical(destination: number, own: number, model: number): boolean {
  if (model === 0xf) return (own & destination & 0xff) !== 0;
  const cluster = (destination >>> 4) & 0xf;
  return (cluster === 0xf || cluster === own >>> 4) && (own & destination & 0xf) !== 0;
}

/** x2APIC mode. */
export function matchesCluster(destination: number, id: number): boolean {
  if (destination >>> 0 === 0xffff_ffff) return true;
  const own = x2apicLogical(id);
  return destination >>> 16 === own >>> 16 && (destination & own & 0xffff) !== 0;
}
