// The account of a run: what a person sees on stderr when it is over. A reader of the trace and of bytes that it is given;
// a run that did something else gives another account. It never prints a key.

import { Vector, vectorName } from '../arch/exception.ts';
import { exitName } from '../arch/exit-code.ts';
import type { TraceEvent } from '../util/trace.ts';
import { Canvas, type Paint } from './canvas.ts';
import { drawSideBySide } from './hexdump.ts';
import { hex } from './ndjson.ts';
import { RoundTrip, Way } from './round-trip.ts';
import { drawRoundTrip, ghcbField } from './round-trip-chart.ts';
import { wrap } from './sequence.ts';
import type { CodeAt } from './code.ts';
import type { Symbols } from './symbols.ts';
import { byFrequency, Tally } from './tally.ts';
import type { TraceReader } from './tracer.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

/** The same bytes of guest memory, as the guest sees them and as the hypervisor does. */
export type MemoryViews = { readonly gpa: number; readonly spa: number; readonly guest: Uint8Array; readonly hypervisor: Uint8Array };

export type AccountInput = {
  readonly image: string;
  readonly technology: 'none' | 'sev' | 'sev-es' | 'bare';
  readonly cpu: string;
  readonly memory: number;
  readonly seed: string;
  readonly instructions: number;
  readonly elements: number;
  /** Stopwatch, only printed. */
  readonly seconds: number;
  readonly status: number;
  /** One sentence on how it ended. */
  readonly ending: string;
  readonly views: MemoryViews | null;
  /** Whose memory is whose, if that was asked for. */
  readonly map?: ((width: number, paint: Paint) => readonly string[]) | undefined;
  readonly symbols: Symbols;
  readonly codeAt: CodeAt;
  /** What the hypervisor got over, as it says it. */
  readonly warnings: readonly string[];
};

const count = new Intl.NumberFormat('en-US');
const guestName = {
  none: 'a guest without encryption',
  sev: 'an SEV guest',
  'sev-es': 'an SEV-ES guest',
  bare: 'the host itself',
} as const;
const LEAST_WIDTH = 80;
const MOST_WIDTH = 160;

export class Account implements TraceReader, Stateful {
  readonly tally: Tally;
  readonly #trip = new RoundTrip();

  /** `tally` is fed by whoever made it: the JSON report reads the same one. */
  constructor(tally: Tally = new Tally()) {
    this.tally = tally;
  }

  note(event: TraceEvent): void {
    this.tally.note(event);
    this.#trip.note(event);
  }

  /** The account as text, `width` columns wide (at least 80). */
  render(input: AccountInput, width: number, paint: Paint): string {
    const columns = Math.min(MOST_WIDTH, Math.max(LEAST_WIDTH, width));
    const sections = [
      this.#headline(input, columns, paint),
      this.#launch(input, columns, paint),
      this.#counts(paint),
      this.#roundTrip(input, columns, paint),
      this.#views(input, columns, paint),
      input.map?.(columns, paint) ?? [],
      this.#ending(input, columns, paint),
    ];
    return `${sections
      .filter((lines) => lines.length > 0)
      .map((lines) => lines.join('\n'))
      .join('\n\n')}\n`;
  }

  #headline(input: AccountInput, width: number, paint: Paint): string[] {
    const { image, technology, cpu, memory, instructions, elements, seconds } = input;
    const title = `── cbit: ${image} `;
    const strings = elements > 0 ? ` (and ${count.format(elements)} string elements)` : '';
    const facts = `${guestName[technology]} on ${cpu} with ${inBytes(memory)}: ${count.format(instructions)} instruction${instructions === 1 ? '' : 's'}${strings} in ${seconds.toFixed(2)} s`;
    return [paint('title', title + '─'.repeat(Math.max(0, width - title.length))), ...wrap(facts, width - 2).map((line) => `  ${line}`)];
  }

  #launch({ technology }: AccountInput, width: number, paint: Paint): string[] {
    const { commands, measurement, measurementNonce } = this.tally;
    if (commands.length === 0) return [];
    const lines = [paint('title', 'Launch by the AMD-SP')];
    for (const line of wrap(inARow(commands), width - 4)) lines.push(`  ${line}`);
    if (measurement === null) return lines;
    lines.push('', `  measurement  ${paint('hardware', measurement)}`);
    if (measurementNonce) lines.push(`  nonce        ${paint('dim', measurementNonce)}`);
    const start = commands.find(({ command }) => command === 'LAUNCH_START');
    const owner = start !== undefined && Boolean(start.detail['session']);
    const covers = technology === 'sev-es' ? 'the image, the boot pages and the initial registers' : 'the image and the boot pages';
    const remark = owner
      ? `It covers ${covers}, keyed with the integrity key of the owner's session.`
      : `It covers ${covers}. No guest owner's session went into LAUNCH_START, so its integrity key is all zeros and anyone can compute this value: it tells changed images apart, it proves nothing.`;
    for (const line of wrap(remark, width - 4)) lines.push(paint('dim', `  ${line}`));
    return lines;
  }

  #counts(paint: Paint): string[] {
    const { exits, vc, exceptions } = this.tally;
    const groups = [
      { title: 'Exits to the hypervisor', counts: exits, style: 'hypervisor' },
      { title: '#VC in the guest', counts: vc, style: 'guest' },
      { title: 'Exceptions', counts: exceptions, style: 'plain' },
    ] as const;
    const canvas = new Canvas();
    let column = 0;
    for (const { title, counts, style } of groups) {
      if (counts.size === 0) continue;
      const rows = byFrequency(counts);
      const names = Math.max(...rows.map(([name]) => name.length));
      const numbers = Math.max(...rows.map(([, n]) => count.format(n).length));
      canvas.put(0, column, title, 'title');
      rows.forEach(([name, n], i) => {
        canvas.put(i + 1, column + 2, name, style);
        canvas.put(i + 1, column + 2 + names + 2, count.format(n).padStart(numbers));
      });
      column += Math.max(title.length, names + numbers + 4) + 5;
    }
    return canvas.render(paint);
  }

  #roundTrip({ symbols }: AccountInput, width: number, paint: Paint): string[] {
    const { events, way } = this.#trip;
    if (way === Way.NONE) return [];
    return [
      paint('title', 'One CPUID, step by step') + paint('dim', '   (left: instructions retired)'),
      ...drawRoundTrip(events, way, symbols, width, paint),
    ];
  }

  #views({ views }: AccountInput, width: number, paint: Paint): string[] {
    if (views === null) return [];
    const same = views.guest.every((byte, i) => byte === views.hypervisor[i]);
    const title =
      paint('title', 'The same page from both sides') +
      paint('dim', `   (guest physical ${hex(views.gpa)}, system physical ${hex(views.spa)})`);
    const right = same ? 'as the hypervisor sees it: the same' : 'as the hypervisor sees it';
    return [
      title,
      ...drawSideBySide(
        views.gpa,
        [
          { title: 'as the guest sees it', bytes: views.guest, style: 'guest' },
          { title: right, bytes: views.hypervisor, style: 'hypervisor' },
        ],
        width,
        paint,
      ),
    ];
  }

  #ending(input: AccountInput, width: number, paint: Paint): string[] {
    const { tally } = this;
    const good = input.status === 0;
    const lines = [paint('title', 'How it ended'), `  ${paint(good ? 'good' : 'bad', input.ending)}`];
    for (const [instruction, { rip, count: times }] of tally.unimplemented) {
      lines.push(paint('bad', `  not implemented: ${instruction} at RIP ${hex(rip)}${times > 1 ? `, ${count.format(times)} times` : ''}`));
    }
    for (const warning of input.warnings) for (const line of wrap(warning, width - 4)) lines.push(paint('dim', `  ${line}`));
    if (good) return lines;
    for (const line of this.#lastMoments(input)) for (const part of wrap(line, width - 4)) lines.push(`  ${part}`);
    return lines;
  }

  /** What led there, in the manual's words. */
  #lastMoments({ symbols, codeAt, technology }: AccountInput): string[] {
    const { lastExceptions, lastVc, lastExit, lastGhcb, diedWithoutHandler } = this.tally;
    const lines: string[] = [];
    const at = (rip: bigint): string => {
      const [place, instruction] = [symbols(rip), codeAt(rip)];
      return `RIP ${hex(rip)}${place === null ? '' : ` in ${place}`}${instruction === null ? '' : `: ${instruction}`}`;
    };
    if (lastVc !== null) lines.push(`last #VC: error code ${hex(lastVc.exitCode)} (${exitName(lastVc.exitCode)}) at ${at(lastVc.rip)}`);
    for (const { vector, errorCode, rip, cr2 } of lastExceptions) {
      const code = errorCode === null ? '' : `, error code ${hex(errorCode)}`;
      const address = vector === Vector.PF && cr2 !== null ? `, CR2 ${hex(cr2)}` : '';
      lines.push(`exception ${vectorName(vector)} (vector ${vector})${code}${address} at ${at(rip)}`);
    }
    if (lastExit !== null) {
      const { exitCode, exitInfo1, exitInfo2 } = lastExit;
      lines.push(`last exit: ${exitName(exitCode)} (${hex(exitCode)}), EXITINFO1 ${hex(exitInfo1)}, EXITINFO2 ${hex(exitInfo2)}`);
    }
    if (lastGhcb !== null)
      lines.push(
        `last words in the GHCB: ${Object.entries(lastGhcb.fields)
          .map(([name, value]) => ghcbField(name, value))
          .join(', ')}`,
      );
    if (technology === 'sev-es' && lastExit !== null) {
      const seen = lastGhcb === null ? 'the exit' : 'the exit and the GHCB';
      lines.push(`the hypervisor saw ${seen}; it could not see RIP or any other register: they are in the VMSA, encrypted`);
    }
    if (diedWithoutHandler) {
      lines.push(
        '',
        'The guest took a #VC and had no handler for it (vector 29 of its IDT). As an SEV-ES guest it needs one; `--sev none` or `--sev sev` runs it without.',
      );
    }
    return lines;
  }

  exchange(fields: Fields): void {
    fields.part(this.tally);
    fields.part(this.#trip);
  }
}

/** Commands in order, repeated ones counted, statuses other than SUCCESS named. */
function inARow(commands: Tally['commands']): string {
  const runs: { text: string; times: number }[] = [];
  for (const { command, status } of commands) {
    const text = /^success$/i.test(status) ? command : `${command} (${status})`;
    const last = runs.at(-1);
    if (last?.text === text) last.times++;
    else runs.push({ text, times: 1 });
  }
  return runs.map(({ text, times }) => (times > 1 ? `${text} ×${times}` : text)).join(', ');
}

/** A size in bytes as people give it. */
function inBytes(bytes: number): string {
  for (const [unit, size] of [
    ['GiB', 2 ** 30],
    ['MiB', 2 ** 20],
    ['KiB', 2 ** 10],
  ] as const)
    if (bytes % size === 0) return `${bytes / size} ${unit}`;
  return `${bytes} bytes`;
}
