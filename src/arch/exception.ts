// Exceptions: vectors, classes and error codes. APM vol. 2, chapter 8 (tables 8-1, 8-3 and 8-4).

export const Vector = {
  DE: 0,
  DB: 1,
  NMI: 2,
  BP: 3,
  OF: 4,
  BR: 5,
  UD: 6,
  NM: 7,
  DF: 8,
  TS: 10,
  NP: 11,
  SS: 12,
  GP: 13,
  PF: 14,
  MF: 16,
  AC: 17,
  MC: 18,
  XM: 19,
  CP: 21,
  HV: 28,
  VC: 29,
  SX: 30,
} as const;
export type Vector = (typeof Vector)[keyof typeof Vector];

const names = new Map<number, string>(Object.entries(Vector).map(([name, n]) => [n, name === 'NMI' ? 'NMI' : `#${name}`]));
export const vectorName = (vector: number): string => names.get(vector) ?? `vector ${vector}`;

/** Vectors that push an error code (table 8-1; #VC: 15.35.5). */
const withErrorCode: ReadonlySet<number> = new Set([
  Vector.DF,
  Vector.TS,
  Vector.NP,
  Vector.SS,
  Vector.GP,
  Vector.PF,
  Vector.AC,
  Vector.CP,
  Vector.VC,
  Vector.SX,
]);
export const pushesErrorCode = (vector: number): boolean => withErrorCode.has(vector);

const contributory: ReadonlySet<number> = new Set([Vector.DE, Vector.TS, Vector.NP, Vector.SS, Vector.GP, Vector.CP, Vector.VC]);

/** Does a second exception during delivery of a first give #DF (table 8-3)? #VC counts as contributory (15.35.5). */
export function givesDoubleFault(first: number, second: number): boolean {
  if (first === Vector.PF) return second === Vector.PF || contributory.has(second);
  return contributory.has(first) && contributory.has(second);
}

/** Page-fault error code (figure 8-1). */
export const PageFault = { P: 1 << 0, RW: 1 << 1, US: 1 << 2, RSV: 1 << 3, ID: 1 << 4, PK: 1 << 5, SS: 1 << 6 } as const;
