// `cbit run`: options to a virtual machine, slices until it ends, then the account or the report. Serial output is stdout's; whatever
// is ours goes to stderr.

import { basename } from 'node:path';
import { Account } from '../debug/account.ts';
import { readCode } from '../debug/code.ts';
import { report } from '../debug/json.ts';
import { registersOf } from '../debug/registers.ts';
import { readSymbols } from '../debug/symbols.ts';
import { TraceHash } from '../debug/trace-hash.ts';
import { Tracer } from '../debug/tracer.ts';
import { modelChoiceHelp } from '../cpu/model-choice.ts';
import { describeOutcome, ExitStatus } from '../hypervisor/outcome.ts';
import { type RunOptions, SLICE, VirtualMachine } from '../virtual-machine.ts';
import { UserError } from '../util/errors.ts';
import { nodeAes } from './aes-node.ts';
import { paintFor } from './colours.ts';
import { type ImageFile, readExtra, readImage } from './image.ts';
import {
  parseAddress,
  parseCount,
  parseDate,
  parseList,
  parseMemory,
  parseMode,
  parseModel,
  parseRegisters,
  parseTechnology,
  parseTier,
} from './options.ts';
import { Progress } from './progress.ts';
import { parseSeed, type Seed } from './seed.ts';
import { SerialLog } from './serial.ts';
import { Stopwatch } from './stopwatch.ts';
import { Terminal } from './terminal.ts';
import { TraceFile } from './trace-file.ts';
import { dramOf, viewsOf } from './views.ts';

/** Options as commander hands them over: texts. */
export type RunFlags = {
  readonly sev: string;
  readonly memory: string;
  readonly cpu: string;
  readonly seed: string;
  readonly maxInstructions?: string;
  readonly intercept?: readonly string[];
  readonly mode?: string;
  readonly load?: string;
  readonly entry?: string;
  readonly bios?: string;
  readonly initrd?: string;
  readonly append?: string;
  readonly trace?: string;
  readonly json?: boolean;
  readonly registers?: string;
  readonly haltOk?: boolean;
  readonly rtc?: string;
  readonly tier?: string;
};

/** The guest's date unless --rtc says otherwise: a fixed one, because nothing may depend on today. */
const DEFAULT_RTC = '2026-01-01';
/** Columns of the account where there is no terminal. */
const DEFAULT_WIDTH = 100;

type Settings = { readonly seed: Seed; readonly options: Omit<RunOptions, 'image' | 'serial' | 'aes' | 'trace'> };

/** Reads every option before anything is touched. */
function settings(flags: RunFlags): Settings {
  const seed = parseSeed(flags.seed);
  const optional = <T>(text: string | undefined, parse: (text: string) => T): T | undefined =>
    text === undefined ? undefined : parse(text);
  return {
    seed,
    options: {
      technology: parseTechnology(flags.sev),
      memory: parseMemory(flags.memory),
      cpu: parseModel(flags.cpu),
      seed: seed.value,
      maxInstructions: optional(flags.maxInstructions, (text) => parseCount('--max-instructions', text)) ?? null,
      intercepts: (flags.intercept ?? []).flatMap(parseList),
      append: flags.append ?? '',
      haltOk: flags.haltOk ?? false,
      tier: optional(flags.tier, parseTier),
      rtc: parseDate(flags.rtc ?? DEFAULT_RTC),
      mode: optional(flags.mode, parseMode),
      load: optional(flags.load, (text) => parseAddress('--load', text)),
      entry: optional(flags.entry, (text) => parseAddress('--entry', text)),
    },
  };
}

const NOTHING = new Uint8Array(0);

const fileOf = (file: ImageFile | undefined) => (file === undefined ? undefined : { name: basename(file.path), bytes: file.bytes });

/** Runs a guest to its end and shows what happened; gives the exit status. Throws UserError. */
export async function run(named: string | undefined, flags: RunFlags): Promise<number> {
  if (flags.cpu.trim().toLowerCase() === 'help') {
    process.stdout.write(`${modelChoiceHelp()}\n`);
    return ExitStatus.OK;
  }
  const stopwatch = new Stopwatch();
  const { seed, options } = settings(flags);
  if (named === undefined && flags.bios === undefined) throw new UserError('there is nothing to run: give an image, or a ROM with --bios');
  const image = named === undefined ? undefined : readImage(named);
  const bios = flags.bios === undefined ? undefined : readExtra('--bios', flags.bios);
  const initrd = flags.initrd === undefined ? undefined : readExtra('--initrd', flags.initrd);
  const shown = image ?? bios;
  const json = flags.json ?? false;
  const withRegisters = flags.registers !== undefined && parseRegisters(flags.registers) === 'json';
  const account = new Account();
  const hash = json ? new TraceHash() : null;
  const { technology, cpu, memory } = options;
  const origin = { image: named ?? flags.bios ?? '', technology, cpu, memory, seed: seed.value };
  const file = flags.trace === undefined ? null : new TraceFile(flags.trace, origin);
  const tracer = new Tracer([account, ...(hash ? [hash] : []), ...(file ? [file] : [])]);
  const serial = new SerialLog();
  const progress = new Progress(stopwatch, !json && process.stderr.isTTY === true);
  const terminal = new Terminal({
    toStdout: !json,
    sent: (byte) => {
      progress.clear();
      if (json) serial.add(byte);
    },
  });
  let vm: VirtualMachine | null = null;
  try {
    vm = new VirtualMachine({
      ...options,
      image: fileOf(image),
      bios: fileOf(bios),
      initrd: fileOf(initrd),
      serial: terminal,
      aes: nodeAes,
      trace: tracer,
    });
    const { host } = vm.machine;
    tracer.clock = () => host.retired;
    if (seed.drawn) process.stderr.write(`cbit: seed ${seed.value}\n`);
    await drive(vm, terminal, progress);
    progress.clear();
    const result = vm.result();
    const { status, instructions, elements } = result;
    const ending = describeOutcome(result.outcome);
    const registers = withRegisters ? registersOf(vm) : undefined;
    if (json) {
      const traceHash = hash?.finish(dramOf(vm)) ?? '';
      const { text, dropped } = serial;
      const { seconds } = stopwatch;
      const given = {
        outcome: result.outcome.kind,
        reason: ending,
        status,
        value: result.value,
        serial: text,
        serialDropped: dropped,
        instructions,
        elements,
        traceHash,
        seed: seed.value,
        seconds: Math.round(seconds * 1000) / 1000,
        registers,
      };
      process.stdout.write(`${JSON.stringify(report(given, account.tally))}\n`);
    } else {
      if (registers !== undefined) process.stdout.write(`${terminal.atLineStart ? '' : '\n'}${JSON.stringify(registers)}\n`);
      const width = process.stderr.isTTY ? process.stderr.columns : DEFAULT_WIDTH;
      const input = {
        ...origin,
        instructions,
        elements,
        seconds: stopwatch.seconds,
        status,
        ending,
        views: viewsOf(vm),
        symbols: readSymbols(shown?.bytes ?? NOTHING),
        codeAt: readCode(shown?.bytes ?? NOTHING, vm.image.segments[0]?.start ?? 0, vm.image.mode),
        warnings: result.warnings,
      };
      process.stderr.write(`\n${account.render(input, width, paintFor(process.stderr, process.env))}`);
      if (file) process.stderr.write(`\ntrace: ${file.path}, ${file.events} events\n`);
    }
    return status;
  } finally {
    terminal.close();
    file?.close();
    vm?.dispose();
  }
}

/** Slice by slice, so that keys, Ctrl-C and a slow reader of stdout are served between them. */
async function drive(vm: VirtualMachine, terminal: Terminal, progress: Progress): Promise<void> {
  terminal.open(() => {}); // the UART takes what is there when the guest asks
  const { host } = vm.machine;
  for (;;) {
    const over = vm.advance(SLICE);
    const wrote = terminal.flush();
    if (over) return;
    progress.show(host.retired, wrote, terminal.atLineStart);
    await terminal.drained();
    await new Promise((resolve) => setImmediate(resolve));
    if (terminal.interrupted) vm.interrupt();
  }
}
