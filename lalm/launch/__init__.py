"""From one command to a finished sweep: flags, grid, worker processes.

Nothing here imports JAX. What must know about mechanisms or devices runs in
processes of its own (`lalm.launch.survey`, `lalm.measure.worker`), so that a
process which dies, hangs or runs out of memory costs the sweep one point.

  schema, flags   the command line becomes a `Request`, or one line of refusal
  survey          which mechanisms, forms and device there are
  grid            the points of a request, in a fixed order
  planning        what each point would cost
  budget          what fits in memory and in the time allowed
  ledger          what is recorded already; records are added once
  child           one worker process and the conversation with it
  conversation    a list of points through such processes
  failures        what need not be tried because of what has failed
  supervisor      replicates, one worker process after the other
  command         all of it, ending in an exit status
"""
