// Imported before a program: says at its end how much memory it had at most. The kernel's own count is asked where there is one,
// because the resource usage of a process begins with that of its parent.

import { existsSync, readFileSync, writeSync } from 'node:fs';

const STATUS = '/proc/self/status';
const STDERR = 2;

process.on('exit', () => {
  const kernel = existsSync(STATUS) ? /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(STATUS, 'utf8')) : null;
  const kibibytes = kernel ? Number(kernel[1]) : process.resourceUsage().maxRSS;
  writeSync(STDERR, `\npeak memory: ${kibibytes} KiB\n`);
});
