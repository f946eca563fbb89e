// What the campaigns have in common as commands: options, `--help`, and one line with the mend where something is wrong with them.

import { basename } from 'node:path';
import { parseArgs, type ParseArgsConfig } from 'node:util';

/** A mistake of whoever typed the command. */
export class Mistake extends Error {}

type Options = NonNullable<ParseArgsConfig['options']>;

/** Values of the options; with `--help` the program ends here, with `usage` on stdout. Throws Mistake. */
export function toolOptions<const T extends Options>(
  usage: string,
  options: T,
  args: readonly string[] = process.argv.slice(2),
): ReturnType<typeof parseArgs<{ args: string[]; options: T & { help: { type: 'boolean'; short: 'h' } } }>>['values'] {
  try {
    const { values } = parseArgs({ args: [...args], options: { ...options, help: { type: 'boolean', short: 'h' } } });
    if ((values as { readonly help?: boolean }).help !== true) return values;
  } catch (error) {
    const said = error instanceof Error ? error.message.split(/\.? To specify|\n/, 1)[0] : String(error);
    throw new Mistake(`${said}: see --help`);
  }
  console.log(usage.trim());
  process.exit(0);
}

/** A whole number from 1 on, or from 0 on. */
export function numberOf(option: string, text: string, least: 0 | 1 = 1): number {
  if (!/^\d{1,9}$/.test(text) || Number(text) < least) throw new Mistake(`--${option} ${text}: give a number such as 2`);
  return Number(text);
}

/** Runs the command; a mistake is one line and exit status 2. */
export async function asCommand(main: () => Promise<void>): Promise<void> {
  try {
    await main();
  } catch (error) {
    if (!(error instanceof Mistake)) throw error;
    console.error(`${basename(process.argv[1] ?? 'tool', '.ts')}: ${error.message}`);
    process.exitCode = 2;
  }
}
