// Lines typed at the prompt, kept from one session to the next where programs keep such things (XDG Base Directory Specification
// 0.8): $XDG_STATE_HOME/cbit/host_history, or ~/.local/state. Where that cannot be written they last as long as the session.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';

export const HISTORY_SIZE = 1000;

/** null: there is no such place. */
function place(environment: NodeJS.ProcessEnv): string | null {
  const { XDG_STATE_HOME: state, HOME: home } = environment;
  if (state !== undefined && isAbsolute(state)) return join(state, 'cbit', 'host_history');
  return home === undefined || !isAbsolute(home) ? null : join(home, '.local', 'state', 'cbit', 'host_history');
}

/** Newest first, as readline wants it. */
export function loadHistory(environment: NodeJS.ProcessEnv): string[] {
  try {
    const lines = readFileSync(place(environment) ?? '', 'utf8').split('\n');
    return lines
      .filter((line) => line !== '')
      .slice(-HISTORY_SIZE)
      .reverse();
  } catch {
    return [];
  }
}

export function saveHistory(lines: readonly string[], environment: NodeJS.ProcessEnv): void {
  const path = place(environment);
  if (path === null || lines.length === 0) return;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    writeFileSync(path, `${[...lines].slice(0, HISTORY_SIZE).reverse().join('\n')}\n`, { mode: 0o600 });
  } catch {
    // a convenience; nobody wants to hear that it is not there
  }
}
