// What happened, as values. Everything that the account, the NDJSON trace and the trace hash show comes from these events;
// whoever causes an event emits it. `at` is the number of instructions retired when it happened.

export type TraceEvent = { readonly at: number } & (
  | {
      readonly kind: 'exception';
      readonly vector: number;
      readonly errorCode: number | null;
      readonly rip: bigint;
      readonly cr2: bigint | null;
    }
  | { readonly kind: 'vc'; readonly exitCode: number; readonly rip: bigint; readonly instruction: string }
  | { readonly kind: 'exit'; readonly exitCode: number; readonly exitInfo1: bigint; readonly exitInfo2: bigint }
  | { readonly kind: 'vmrun'; readonly vmcb: number }
  | { readonly kind: 'inject'; readonly eventInj: bigint }
  | { readonly kind: 'clean-bits'; readonly vmcb: number; readonly field: string; readonly bit: string }
  | { readonly kind: 'ghcb-msr'; readonly from: 'guest' | 'hypervisor'; readonly value: bigint }
  | {
      readonly kind: 'ghcb';
      readonly from: 'guest' | 'hypervisor';
      readonly gpa: number;
      readonly fields: Readonly<Record<string, bigint>>;
    }
  | { readonly kind: 'asp'; readonly command: string; readonly status: string; readonly detail: Readonly<Record<string, string | number>> }
  | { readonly kind: 'unimplemented'; readonly instruction: string; readonly rip: bigint }
  | { readonly kind: 'end'; readonly outcome: string; readonly detail: string }
);

type WithoutAt<E> = E extends unknown ? Omit<E, 'at'> : never;
/** An event as its cause states it; the tracer adds when. */
export type TraceNote = WithoutAt<TraceEvent>;

/** Where causes put their events. */
export interface TraceSink {
  emit(note: TraceNote): void;
}
