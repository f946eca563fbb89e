// The chart of one CPUID: turns the events of a round trip into the steps of a sequence chart. Each step comes from an event; what the
// guest wrote into the GHCB is drawn before the VMGEXIT, where it happened, although the trace has it where the hypervisor read it.

import { GhcbInfo } from '../arch/ghcb.ts';
import { exitName } from '../arch/exit-code.ts';
import type { TraceEvent } from '../util/trace.ts';
import type { Paint } from './canvas.ts';
import { hex } from './ndjson.ts';
import { Way } from './round-trip.ts';
import { drawSequence, type Lane, type Step } from './sequence.ts';
import type { Symbols } from './symbols.ts';

const GUEST = 0;
const HARDWARE = 1;

const manualNames: Readonly<Record<string, string>> = {
  swExitCode: 'SW_EXITCODE',
  swExitInfo1: 'SW_EXITINFO1',
  swExitInfo2: 'SW_EXITINFO2',
  swScratch: 'SW_SCRATCH',
  protocolVersion: 'version',
};

/** A GHCB field as the specification spells it, with its value. */
export function ghcbField(name: string, value: bigint): string {
  const remark = name === 'swExitCode' ? ` ${exitName(Number(value))}` : text(name, value);
  return `${manualNames[name] ?? name.toUpperCase()} ${hex(value)}${remark}`;
}

/** CPUID gives names in registers: four bytes that all print are shown as text, too. */
function text(name: string, value: bigint): string {
  if (!/^r[a-d]x$/.test(name) || value > 0xffff_ffffn) return '';
  const bytes = [0n, 8n, 16n, 24n].map((shift) => Number((value >> shift) & 0xffn));
  return bytes.every((byte) => byte >= 0x20 && byte < 0x7f) ? ` "${String.fromCharCode(...bytes)}"` : '';
}

/** GHCBInfo by name, for values of the MSR protocol. */
function msrValue(value: bigint): string {
  const info = Number(value & 0xfffn);
  const name = Object.entries(GhcbInfo).find(([, code]) => code === info)?.[0] ?? 'unknown';
  return `${hex(value)} ${name.toLowerCase().replaceAll('_', ' ')}`;
}

const registers = 'RAX, RBX, RCX, RDX';

export function drawRoundTrip(events: readonly TraceEvent[], way: Way, symbols: Symbols, width: number, paint: Paint): string[] {
  const encrypted = way !== Way.EXIT;
  const hypervisor = encrypted ? 3 : 2;
  const ghcb = 2;
  const page = events.find((event) => event.kind === 'ghcb');
  const vmcb = events.find((event) => event.kind === 'vmrun');
  const lanes: Lane[] = [
    { name: 'guest', below: '', style: 'guest' },
    { name: 'hardware', below: vmcb ? `VMCB ${hex(vmcb.vmcb)}` : '', style: 'hardware' },
    ...(encrypted ? [{ name: 'GHCB', below: page ? `shared, ${hex(page.gpa)}` : 'the MSR', style: 'shared' } as const] : []),
    { name: 'hypervisor', below: '', style: 'hypervisor' },
  ];
  const steps: Step[] = [];
  const arrow = (event: TraceEvent, from: number, to: number, ...lines: string[]): void =>
    void steps.push({ kind: 'arrow', at: event.at, from, to, text: lines });
  const fields = (event: Extract<TraceEvent, { kind: 'ghcb' }>): string[] =>
    Object.entries(event.fields).map(([name, value]) => ghcbField(name, value));

  events.forEach((event, i) => {
    if (i > 0 && (event.kind === 'exit' || event.kind === 'vmrun')) steps.push({ kind: 'gap' });
    switch (event.kind) {
      case 'vc': {
        const place = symbols(event.rip);
        steps.push({
          kind: 'note',
          at: event.at,
          lane: GUEST,
          text: [event.instruction, ...(place ? [place] : []), `RIP ${hex(event.rip)}`],
        });
        arrow(event, GUEST, HARDWARE, `intercepted: ${exitName(event.exitCode)}`);
        arrow(event, HARDWARE, GUEST, `#VC, error code ${hex(event.exitCode)}`);
        return;
      }
      case 'exit': {
        if (!encrypted) {
          arrow(event, GUEST, HARDWARE, `${exitName(event.exitCode)}, intercepted`);
          arrow(event, HARDWARE, hypervisor, `#VMEXIT ${hex(event.exitCode)}`, 'RAX in the VMCB, all others in sight');
          return;
        }
        const written = events
          .slice(i + 1)
          .find((later) => later.kind === 'exit' || ((later.kind === 'ghcb' || later.kind === 'ghcb-msr') && later.from === 'guest'));
        if (written?.kind === 'ghcb') arrow(event, GUEST, ghcb, ...fields(written));
        if (written?.kind === 'ghcb-msr') arrow(event, GUEST, ghcb, msrValue(written.value));
        arrow(event, GUEST, HARDWARE, 'VMGEXIT');
        arrow(
          event,
          HARDWARE,
          hypervisor,
          `#VMEXIT ${hex(event.exitCode)} ${exitName(event.exitCode)}`,
          'the registers stay behind, encrypted in the VMSA',
        );
        return;
      }
      case 'ghcb':
        if (event.from === 'guest') arrow(event, ghcb, hypervisor, 'reads what is valid');
        else arrow(event, hypervisor, ghcb, ...fields(event));
        return;
      case 'ghcb-msr':
        if (event.from === 'guest') arrow(event, ghcb, hypervisor, 'reads the MSR');
        else arrow(event, hypervisor, ghcb, msrValue(event.value));
        return;
      case 'vmrun':
        arrow(event, hypervisor, HARDWARE, 'VMRUN');
        arrow(event, HARDWARE, GUEST, encrypted ? 'registers from the VMSA' : registers);
        return;
      default:
    }
  });
  return drawSequence(lanes, steps, width, paint);
}
