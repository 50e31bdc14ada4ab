// SPDX-License-Identifier: GPL-3.0-or-later
// Copyright: Lifeboat contributors
// Judge requests by AWS's rules: a JSON list of simulations on stdin, a JSON list of verdicts on stdout.
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'

const { runSimulation } = createRequire(process.argv[2])('@cloud-copilot/iam-simulate')
const verdicts = []
for (const simulation of JSON.parse(readFileSync(0, 'utf8'))) {
  const answer = await runSimulation(simulation, {})
  verdicts.push(answer.resultType === 'error' ? `error: ${JSON.stringify(answer.errors)}` : answer.overallResult)
}
process.stdout.write(JSON.stringify(verdicts))
