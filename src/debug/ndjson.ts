// The trace as text: one JSON object a line (NDJSON), keys always in the same order, so that equal runs give equal bytes.
// Hardware values are strings in hex ("0x403"), counts are numbers, and what has a name in the manual carries it. docs/trace.md
// states every line for users.

import { vectorName } from '../arch/exception.ts';
import { exitName } from '../arch/exit-code.ts';
import type { TraceEvent } from '../util/trace.ts';

/** Version of the format; grows when a reader of the old one would misread the new one. */
export const TRACE_VERSION = 1;

/** An unsigned value in hex; negative exit codes (INVALID is -1) as the 64 bits that the VMCB holds. */
export const hex = (value: number | bigint): string => `0x${(value < 0 ? BigInt.asUintN(64, BigInt(value)) : value).toString(16)}`;

type Fields = Readonly<Record<string, string | number | null | object>>;

function fieldsOf(event: TraceEvent): Fields {
  switch (event.kind) {
    case 'exception':
      return {
        vector: event.vector,
        name: vectorName(event.vector),
        errorCode: event.errorCode === null ? null : hex(event.errorCode),
        rip: hex(event.rip),
        cr2: event.cr2 === null ? null : hex(event.cr2),
      };
    case 'vc':
      return { exitCode: hex(event.exitCode), name: exitName(event.exitCode), rip: hex(event.rip), instruction: event.instruction };
    case 'exit':
      return {
        exitCode: hex(event.exitCode),
        name: exitName(event.exitCode),
        exitInfo1: hex(event.exitInfo1),
        exitInfo2: hex(event.exitInfo2),
      };
    case 'vmrun':
      return { vmcb: hex(event.vmcb) };
    case 'inject':
      return { eventInj: hex(event.eventInj) };
    case 'clean-bits':
      return { vmcb: hex(event.vmcb), field: event.field, bit: event.bit };
    case 'ghcb-msr':
      return { from: event.from, value: hex(event.value) };
    case 'ghcb':
      return {
        from: event.from,
        gpa: hex(event.gpa),
        fields: Object.fromEntries(Object.entries(event.fields).map(([name, value]) => [name, hex(value)])),
      };
    case 'asp':
      return { command: event.command, status: event.status, detail: event.detail };
    case 'unimplemented':
      return { instruction: event.instruction, rip: hex(event.rip) };
    case 'end':
      return { outcome: event.outcome, detail: event.detail };
  }
}

/** One event as one line, without the line feed. */
export const traceLine = (event: TraceEvent): string => JSON.stringify({ at: event.at, kind: event.kind, ...fieldsOf(event) });

/** What a trace is of. None of it enters the trace hash. */
export type TraceOrigin = {
  readonly image: string;
  readonly technology: string;
  readonly cpu: string;
  readonly memory: number;
  readonly seed: string;
};

/** The first line of a trace file: what it is, so that a reader can refuse what it does not know. */
export const traceHeader = (origin: TraceOrigin): string => JSON.stringify({ cbit: 'trace', version: TRACE_VERSION, ...origin });
