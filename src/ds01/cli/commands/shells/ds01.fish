# completion of ds01 for fish
complete -c ds01 -f -a '(ds01 __complete (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
complete -c ds01 -s w -l workspace -r -F
complete -c ds01 -s d -l data -r -F
complete -c ds01 -s m -l models -r -F
