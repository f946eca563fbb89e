// `cbit conform`: judges a guest's side of the GHCB protocol. The report goes to stdout or a file, how far it is to stderr.

import { accessSync, constants, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { type Cell, type Choice, judgeAll, judgeOne, plan, type Plan, type Step } from '../conform/campaign.ts';
import type { GuestRunOptions } from '../conform/guest-run.ts';
import { conformJunit } from '../conform/junit.ts';
import { type ConformReport, conformReport, type Origin } from '../conform/report.ts';
import { conformSchema } from '../conform/schema.ts';
import { conformText } from '../conform/text.ts';
import { readSymbols } from '../debug/symbols.ts';
import { modelChoiceHelp } from '../cpu/model-choice.ts';
import { ExitStatus } from '../hypervisor/outcome.ts';
import { UserError } from '../util/errors.ts';
import { nodeAes } from './aes-node.ts';
import { paintFor } from './colours.ts';
import { ConformProgress } from './conform-progress.ts';
import {
  type ConformFormat,
  noSuchCell,
  parseCell,
  parseConformFormat,
  parseEvent,
  parseOccurrences,
  parseOnly,
} from './conform-options.ts';
import { code } from './image.ts';
import { type MachineFlags, readSettings } from './settings.ts';
import { Stopwatch } from './stopwatch.ts';
import { TraceFile } from './trace-file.ts';

/** Options as commander hands them over: texts. */
export type ConformFlags = MachineFlags & {
  readonly event?: string;
  readonly only?: string;
  readonly occurrences?: string;
  readonly all?: boolean;
  readonly cell?: string;
  readonly trace?: string;
  readonly format?: string;
  readonly output?: string;
  readonly haltOk?: boolean;
  readonly schema?: boolean;
};

/** Columns where there is no terminal. */
const DEFAULT_WIDTH = 170;
/** Milliseconds of work between looks at Ctrl-C. */
const PATIENCE = 100;

/** Judges a guest; gives the exit status. Throws UserError. */
export async function conform(named: string | undefined, flags: ConformFlags): Promise<number> {
  const { stdout, stderr } = process;
  if (flags.schema) {
    stdout.write(`${JSON.stringify(conformSchema(), null, 2)}\n`);
    return ExitStatus.OK;
  }
  if (flags.cpu.trim().toLowerCase() === 'help') {
    stdout.write(`${modelChoiceHelp()}\n`);
    return ExitStatus.OK;
  }
  const stopwatch = new Stopwatch();
  const format = parseConformFormat(flags.format, flags.output);
  const only = parseOnly(flags.only);
  const cell = flags.cell === undefined ? null : parseCell(flags.cell);
  const choice: Choice = {
    occurrences: cell === null ? parseOccurrences(flags.occurrences, flags.all ?? false) : null,
    event: cell === null ? parseEvent(flags.event) : ({ number }) => number === cell.number,
    variant: cell === null ? only.variant : () => true,
  };
  checkFlags(flags);
  if (flags.output !== undefined) checkWritable(flags.output);
  const { options, origin, seed, shown } = readSettings(named, flags);
  if (options.technology !== 'sev-es')
    throw new UserError(`--sev ${options.technology}: only SEV-ES guests speak the GHCB protocol: leave --sev out`);
  if (seed.drawn) stderr.write(`cbit: seed ${seed.value}\n`);
  const { maxInstructions, ...machine } = options;
  const guest: GuestRunOptions = { ...machine, haltOk: flags.haltOk ?? false, aes: nodeAes, checkCleanBits: false };
  const narrowed = { occurrences: choice.occurrences, event: flags.event ?? null, only: flags.only ?? null };
  const told: Origin = { image: origin.image, cpu: origin.cpu, memory: origin.memory, seed: origin.seed, narrowed };
  const worker = new Worker(new ConformProgress(stopwatch, stderr.isTTY === true));
  const symbols = readSymbols(shown);
  try {
    const planned = await worker.run(plan(guest, choice, maxInstructions), () => 'the run without any variant');
    if (planned === null) return ExitStatus.INTERRUPTED;
    const cells = cell === null ? await judge(guest, planned, worker) : await judgeCell(guest, planned, cell, flags.trace, origin, worker);
    worker.progress.clear();
    if (cell === null && planned.cells === 0) throw new UserError(nothing(planned, narrowed));
    const status = worker.interrupted
      ? ExitStatus.INTERRUPTED
      : cells.some(({ result }) => result === 'violated')
        ? ExitStatus.FAILED
        : ExitStatus.OK;
    const report = conformReport(told, planned, cells, symbols, { status, seconds: Math.round(stopwatch.seconds * 1000) / 1000 });
    const listed = cell === null ? only.listed : (cells[0]?.result ?? null);
    const toTerminal = flags.output === undefined && stdout.isTTY;
    const paint = paintFor(flags.output === undefined ? stdout : {}, process.env);
    write(
      shape(report, format, (given) => conformText(given, listed, toTerminal ? stdout.columns : DEFAULT_WIDTH, paint)),
      flags.output,
    );
    if (worker.interrupted) stderr.write(`cbit: interrupted after ${cells.length} of ${planned.cells} cells\n`);
    return status;
  } finally {
    worker.close();
  }
}

function checkFlags({ cell, trace, event, only, occurrences, all, bare }: ConformFlags): void {
  if (trace !== undefined && cell === undefined) throw new UserError('--trace is of one run: name its cell with --cell, such as 7.right');
  if (cell !== undefined && (event ?? only ?? occurrences ?? all) !== undefined)
    throw new UserError('--cell is one cell: leave --event, --only, --occurrences and --all out');
  if (bare === true) throw new UserError('--bare: there is no hypervisor that could answer: leave it out');
}

const nothing = ({ vmgexits }: Plan, { event, only }: Origin['narrowed']): string =>
  vmgexits === 0
    ? 'the guest never executes VMGEXIT, so there is nothing to judge: `cbit run` shows what it does instead'
    : event !== null
      ? `--event ${event}: none of the guest's ${vmgexits} VMGEXITs is that: \`cbit conform\` without it lists them`
      : `--only ${only}: no answer to the guest's ${vmgexits} VMGEXITs has such a variant`;

async function judge(guest: GuestRunOptions, planned: Plan, worker: Worker): Promise<Cell[]> {
  const cells: Cell[] = [];
  let violated = 0;
  const saying = (): string => `${cells.length} of ${planned.cells} cells, ${violated} violated`;
  await worker.run(
    (function* (): Step<void> {
      for (const cell of judgeAll(guest, planned)) {
        if (cell !== null) cells.push(cell);
        if (cell?.result === 'violated') violated++;
        yield;
      }
    })(),
    saying,
  );
  return cells;
}

async function judgeCell(
  guest: GuestRunOptions,
  { plain, chosen, vmgexits }: Plan,
  wanted: { readonly number: number; readonly variant: string },
  trace: string | undefined,
  origin: ConstructorParameters<typeof TraceFile>[1],
  worker: Worker,
): Promise<Cell[]> {
  const [found] = chosen;
  const variant = found?.variants.find(({ id }) => id === wanted.variant);
  if (found === undefined || variant === undefined) throw noSuchCell(wanted, vmgexits, found?.event, found?.variants ?? []);
  const file = trace === undefined ? null : new TraceFile(trace, origin);
  try {
    const cell = await worker.run(
      judgeOne(guest, plain, found.event, variant, file === null ? [] : [file]),
      () => `cell ${wanted.number}.${wanted.variant}`,
    );
    return cell === null ? [] : [cell];
  } finally {
    file?.close();
    if (file !== null) process.stderr.write(`trace: ${file.path}, ${file.events} events\n`);
  }
}

function shape(report: ConformReport, format: ConformFormat, text: (report: ConformReport) => string): string {
  if (format === 'json') return `${JSON.stringify(report)}\n`;
  return format === 'junit' ? conformJunit(report) : text(report);
}

function write(text: string, output: string | undefined): void {
  if (output === undefined) {
    process.stdout.write(text);
    return;
  }
  try {
    writeFileSync(output, text);
  } catch (error) {
    throw cannotWrite(output, code(error));
  }
}

/** Before minutes of work are spent on a report that has no place. */
function checkWritable(output: string): void {
  const there = statSync(output, { throwIfNoEntry: false });
  if (there?.isDirectory()) throw cannotWrite(output, 'EISDIR');
  try {
    accessSync(there === undefined ? dirname(output) : output, constants.W_OK);
  } catch (error) {
    throw cannotWrite(output, code(error));
  }
}

const cannotWrite = (output: string, why: string): UserError =>
  new UserError(`--output ${output}: cannot be written (${why}): name a file in a folder that exists and is yours`);

/** Does work in pieces, so that Ctrl-C is heard and the person sees how far it is. */
class Worker {
  readonly progress: ConformProgress;
  interrupted = false;
  readonly #interrupt = (): void => {
    this.interrupted = true;
  };

  constructor(progress: ConformProgress) {
    this.progress = progress;
    process.on('SIGINT', this.#interrupt).on('SIGTERM', this.#interrupt);
    process.stdout.on('error', this.#interrupt);
  }

  /** null: interrupted. */
  async run<T>(steps: Step<T>, saying: () => string): Promise<T | null> {
    const stopwatch = new Stopwatch();
    let looked = 0;
    for (;;) {
      const { done, value } = steps.next();
      if (done === true) return value;
      const now = stopwatch.seconds * 1000;
      if (now - looked < PATIENCE) continue;
      looked = now;
      this.progress.show(saying());
      await new Promise((resolve) => setImmediate(resolve));
      if (!this.interrupted) continue;
      this.progress.clear();
      return null;
    }
  }

  close(): void {
    this.progress.clear();
    process.off('SIGINT', this.#interrupt).off('SIGTERM', this.#interrupt);
    process.stdout.off('error', this.#interrupt);
  }
}
