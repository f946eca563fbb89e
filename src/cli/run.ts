// `cbit run`: options to a virtual machine, slices until it ends, then the account or the report. Serial output is stdout's; whatever
// is ours goes to stderr.

import { Account } from '../debug/account.ts';
import type { Paint } from '../debug/canvas.ts';
import { readCode } from '../debug/code.ts';
import { report } from '../debug/json.ts';
import { mapMemory } from '../debug/pages.ts';
import { sceneOf } from '../debug/pages-machine.ts';
import { mapJson, mapLines } from '../debug/pages-report.ts';
import { registersOf } from '../debug/registers.ts';
import { readSymbols } from '../debug/symbols.ts';
import { TraceHash } from '../debug/trace-hash.ts';
import { Tracer } from '../debug/tracer.ts';
import { modelChoiceHelp } from '../cpu/model-choice.ts';
import { describeOutcome, ExitStatus } from '../hypervisor/outcome.ts';
import { UserError } from '../util/errors.ts';
import { VirtualMachine } from '../virtual-machine.ts';
import { nodeAes } from './aes-node.ts';
import { paintFor } from './colours.ts';
import { attachSanitizer } from '../sanitizer/sanitizer.ts';
import { Taint } from '../taint/taint.ts';
import { drive } from './drive.ts';
import { findingLines, findingsJson } from './findings.ts';
import { parseRegisters } from './options.ts';
import { Progress } from './progress.ts';
import { SerialLog } from './serial.ts';
import { type MachineFlags, readSettings } from './settings.ts';
import { Stopwatch } from './stopwatch.ts';
import { secretsOf } from './secrets.ts';
import { endsOf, Terminal } from './terminal.ts';
import { TraceFile } from './trace-file.ts';
import { dramOf, viewsOf } from './views.ts';

/** Options as commander hands them over: texts. */
export type RunFlags = MachineFlags & {
  readonly trace?: string;
  readonly json?: boolean;
  readonly registers?: string;
  readonly haltOk?: boolean;
  readonly map?: boolean;
  readonly sanitize?: boolean;
  readonly taint?: boolean;
  readonly secret?: readonly string[];
};

/** Columns of the account where there is no terminal. */
const DEFAULT_WIDTH = 100;

/** Runs a guest to its end and shows what happened; gives the exit status. Throws UserError. */
export async function run(named: string | undefined, flags: RunFlags): Promise<number> {
  if (flags.cpu.trim().toLowerCase() === 'help') {
    process.stdout.write(`${modelChoiceHelp()}\n`);
    return ExitStatus.OK;
  }
  const stopwatch = new Stopwatch();
  const { seed, options, origin, shown } = readSettings(named, flags);
  const json = flags.json ?? false;
  const secrets = secretsOf(flags, options, shown);
  if (flags.sanitize === true && (options.bare === true || options.technology !== 'sev-es'))
    throw new UserError('--sanitize: only an SEV-ES guest speaks the GHCB protocol: take --sev sev-es, or leave --sanitize out');
  const withRegisters = flags.registers !== undefined && parseRegisters(flags.registers) === 'json';
  const account = new Account();
  const hash = json ? new TraceHash() : null;
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
      ...(secrets === null ? {} : { tier: 'labels' as const }),
      haltOk: flags.haltOk ?? false,
      ...endsOf(terminal, flags.virtioConsole ?? false),
      aes: nodeAes,
      trace: tracer,
    });
    const { host } = vm.machine;
    tracer.clock = () => host.retired;
    const sanitizer = flags.sanitize === true ? attachSanitizer(vm) : null;
    const taint = secrets === null ? null : new Taint(vm, secrets);
    if (seed.drawn) process.stderr.write(`cbit: seed ${seed.value}\n`);
    await drive(vm, terminal, progress);
    progress.clear();
    sanitizer?.finish();
    taint?.finish();
    const findings = sanitizer === null && taint === null ? null : [...(sanitizer?.findings ?? []), ...(taint?.findings ?? [])];
    const symbols = readSymbols(shown);
    const result = vm.result();
    const { instructions, elements } = result;
    // A guest that ended well and did wrong on the way has not passed.
    const status = result.status === ExitStatus.OK && (findings?.length ?? 0) > 0 ? ExitStatus.FAILED : result.status;
    const ending = describeOutcome(result.outcome);
    const scene = flags.map === true ? sceneOf(vm) : null;
    const maps = scene === null ? [] : mapMemory(scene);
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
        map: scene === null ? undefined : mapJson(maps, scene.keys),
        findings: findings === null ? undefined : findingsJson(findings),
      };
      process.stdout.write(`${JSON.stringify(report(given, account.tally))}\n`);
    } else {
      if (registers !== undefined) process.stdout.write(`${terminal.atLineStart ? '' : '\n'}${JSON.stringify(registers)}\n`);
      const width = process.stderr.isTTY ? process.stderr.columns : DEFAULT_WIDTH;
      const colours = paintFor(process.stderr, process.env);
      const input = {
        ...origin,
        instructions,
        elements,
        seconds: stopwatch.seconds,
        status: result.status,
        ending,
        views: viewsOf(vm),
        map: scene === null ? undefined : (columns: number, paint: Paint) => mapLines(maps, scene.keys, columns, paint),
        symbols,
        codeAt: readCode(shown, vm.image.segments[0]?.start ?? 0, vm.image.mode),
        warnings: result.warnings,
      };
      process.stderr.write(`\n${account.render(input, width, colours)}`);
      if (findings) process.stderr.write(`\n${findingLines(findings, symbols, width, colours).join('\n')}\n`);
      if (file) process.stderr.write(`\ntrace: ${file.path}, ${file.events} events\n`);
    }
    return status;
  } finally {
    terminal.close();
    file?.close();
    vm?.dispose();
  }
}
