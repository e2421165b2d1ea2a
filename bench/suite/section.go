package main

import (
	"fmt"
	"strings"
)

// Marks of the part of the page that make growth writes, and that make bench leaves as it is.
const (
	growthBegins = "<!-- make growth writes from here -->\n"
	growthEnds   = "<!-- to here -->\n"
)

// growthOf returns that part of a page, with its marks; "" where it has none.
func growthOf(page string) string {
	_, rest, begins := strings.Cut(page, growthBegins)
	part, _, ends := strings.Cut(rest, growthEnds)
	if !begins || !ends {
		return ""
	}
	return growthBegins + part + growthEnds
}

// withGrowth returns the page with another such part, at its end if it had none.
func withGrowth(page, part string) string {
	if old := growthOf(page); old != "" {
		return strings.Replace(page, old, part, 1)
	}
	if part == "" {
		return page
	}
	return page + "\n" + part
}

// growthSection tells what was found about growth.
func (s *suite) growthSection(others float64) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	g := &s.grown
	say("%s## Growth\n\n`make growth` has written this part, on %s, with %s, in one run of each; other processes used %.0f %% of the machine's CPU time meanwhile.\n"+
		"Node counts, commands, frames and names are exact; rates and CPU times are this machine's, with everything on its cores.\n", growthBegins, machine(), software(), 100*others)

	say("\n### More nodes, the same people\n\n800 sessions in one room, 50 messages a second (`%s…`).\n\n"+
		"| nodes | commands of Redis a publish | scripts a publish | commands a second, idle | scripts a second, idle | CPU of all nodes a delivery | CPU of Redis a publish | a node's deliveries differ from its share by at most |\n|---|---|---|---|---|---|---|---|\n", growNodesCommand)
	for _, f := range g.nodes {
		say("| %d | %s | %s | %s | %s | %s µs | %s µs | %.1f %% |\n", f.count, figure(f.net("redis_commands")), figure(f.net("redis_scripts")),
			figure(f.idle.number("redis_commands_per_second")), figure(f.idle.number("redis_scripts_per_second")),
			figure(f.result.number(perDelivery)), figure(f.result.number("redis_cpu_us_per_publish")), 100*f.leftOut)
	}
	say("\nA publish that comes alone takes 8 commands: the script, 7 in it, and 2 more when it asks for the server's history, which it then knows for 100 ms. Those that come together share all but 3 of them. What nodes do each second anyway (leases, probes, sweeps, timers, sanctions) is counted before, and taken off.\n" +
		"`TestGrowthOfNodes` in `faults` asserts these counts.\n\n![CPU of a publish by nodes](images/growth-nodes.svg)\n")
	say("\nA node that has nobody in a topic does not hear of it: while %s messages went to rooms of another node, it heard %s, and used %s s of CPU a minute; before, while nothing was said at all, %s s.\n",
		figure(g.deaf.published), figure(g.deaf.heard), figure(g.deaf.busy), figure(g.deaf.quiet))

	say("\n### More topics on a node\n\nRooms of one member each, 1,000 of them a session (`topics --topics N`). The last columns are of a time in which nothing is said.\n\n" +
		"| topics | joins a second | memory of the node a topic | of Redis | commands of Redis a second, idle | scripts a second, idle | CPU, node and Redis, idle |\n|---|---|---|---|---|---|---|\n")
	for _, r := range g.topics {
		say("| %s | %s | %s KiB | %s KiB | %s | %s | %s s a minute |\n", figure(r.number("topics")), figure(r.number("joins_per_second")), figure(r.number("server_rss_kib_per_topic")), figure(r.number("redis_rss_kib_per_topic")),
			figure(r.number("redis_commands_per_second")), figure(r.number("redis_scripts_per_second")), figure(r.number("server_cpu_s_per_minute")+r.number("redis_cpu_s_per_minute")))
	}
	say("\nA sweep looks at one of 64 partitions each 2 s, with a script for each 256 topics: its scripts grow by one each 2 s for 16,384 topics, and none of them keeps Redis for longer than 256 topics take.\n")

	say("\n### A room that everybody joins at once\n\nWithin 10 s, on two nodes, everybody watching who is there (`gather --sessions N --within 10s`).\n\n" +
		"| people | all are in after | all know how many they are after | presence frames a member | their names a member | their bytes a member | names in the answer to a join | all bytes a member | CPU of the nodes a join |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range g.gather {
		say("| %s | %s s | %s s | %s | %s | %s | %s | %s | %s µs |\n", figure(r.number("people")), figure(r.number("seconds_of_coming")), figure(r.number("seconds_until_all_know")), figure(r.number("presence_frames_per_member")), figure(r.number("presence_names_per_member")),
			figure(r.number("presence_bytes_per_member")), figure(r.number("roster_names_per_join")), figure(r.number("received_bytes_per_member")), figure(r.number("server_cpu_us_per_join")))
	}
	say("\nThe nodes were asked %d times meanwhile whether they are ready, and %d times were not. Frames a member do not grow with the room: they are bounded by its intervals (`TestGather` in `bench`, `TestGrowthOfRoom` in `faults`).\n"+
		"Where all are in later than after 10 s, the machine was too busy to let them in as fast. Beyond 1,000 people the answer to a join lists a hundred names, and is encoded once for all who come within an interval\n"+
		"of the roster (`TestJoinOfLargeRoomCostsTheSame` in `node`). Intervals grow with the room, and all know how many they are one of them after the last came.\n", g.asked, g.unready)

	p := row{budget: publishesBudget, atLeast: true, runs: []float64{g.publish.number("publishes_per_second")}}
	say("\n### Publishing\n\n| what | budget | measured | holds | CPU of the node a publish | of Redis | of the load generator |\n|---|---|---|---|---|---|---|\n"+
		"| 100 sessions in pipelines, through one node into one Redis (`publish`) | %s | %s messages/s | %s | %s µs | %s µs | %s µs |\n",
		p.wanted(), figure(p.measured()), p.holds(), figure(g.publish.number("server_cpu_us_per_publish")), figure(g.publish.number("redis_cpu_us_per_publish")), figure(g.publish.number("bench_cpu_us_per_publish")))
	sum := g.publish.number("server_cpu_us_per_publish") + g.publish.number("redis_cpu_us_per_publish") + g.publish.number("bench_cpu_us_per_publish")
	say("\nTogether that is %s µs of CPU a message. Two cores without anything else to do would make %s messages of it a second: that is arithmetic, and the budget is held or not by what was measured.\n", figure(sum), figure(2e6/sum))
	s.million(say)
	if len(s.faults) > 0 {
		say("\n### Faults\n\nThese runs found something wrong, and their figures are worth little:\n\n")
		for _, f := range s.faults {
			say("- %s\n", f)
		}
	}
	b.WriteString(growthEnds)
	return b.String()
}

// million works out, from what was measured, what a million connections take.
func (s *suite) million(say func(string, ...any)) {
	g := &s.grown
	const (
		connections = 1e6
		room        = 10.0     // members
		publishes   = 1e6 / 60 // a second: one a connection and minute
		deliveries  = publishes * room
		changes     = 2e6 / 1800 // joins and leaves a second, where a connection lives for half an hour
		busy        = 0.5        // of a core
		packet      = 66.0       // Ethernet, IP and TCP of a segment
		frame       = 270.0      // a message of 128 bytes of data, with all that a frame says
		beat        = 40.0       // a ping, and its answer, as frames
		perNode     = 16.0       // GiB of a node
		gib         = 1 << 30
	)
	memory := g.idle.number("server_rss_kib_per_connection") * 1024
	heartbeats := g.idle.number("server_cpu_s_per_minute") / 60 / g.idle.number("people") * connections // cores
	delivering := deliveries * g.rooms.number(perDelivery) / 1e6
	joining := changes * g.gather[len(g.gather)-1].number("server_cpu_us_per_join") / 1e6
	cores := heartbeats + delivering + joining
	redisCores := publishes*g.rooms.number("redis_cpu_us_per_publish")/1e6 + changes*g.gather[len(g.gather)-1].number("redis_cpu_us_per_join")/1e6
	out := deliveries*(frame+packet) + connections/25*(beat+packet)
	up := func(f float64) float64 { return float64(int(f + 0.999999)) }
	nodes := max(up(connections*memory/gib/(perNode/2)), up(cores/busy/4))
	say("\n### A million connections\n\nArithmetic from the figures of this page, not a measurement: in rooms of %g, each connection says one message of 128 bytes a minute, sends a ping each 25 s, and lives for half an hour.\n\n"+
		"| what | how | comes to |\n|---|---|---|\n", room)
	say("| memory of the nodes | %s KiB a connection that is idle and in a room (`idle --members 10`) | %s GiB |\n", figure(memory/1024), figure(connections*memory/gib))
	say("| publishes | 1,000,000 / 60 s | %s a second |\n", figure(publishes))
	say("| deliveries | ×%g | %s a second |\n", room, figure(deliveries))
	say("| CPU of deliveries, their publishes included | %s µs a delivery (`rooms --rate 4000`) | %s cores |\n", figure(g.rooms.number(perDelivery)), figure(delivering))
	say("| CPU of heartbeats | %s s a minute for %s connections | %s cores |\n", figure(g.idle.number("server_cpu_s_per_minute")), figure(g.idle.number("people")), figure(heartbeats))
	say("| presence | %s joins and leaves a second; at most %s µs each (the largest room above, connecting included) | %s cores |\n", figure(changes), figure(g.gather[len(g.gather)-1].number("server_cpu_us_per_join")), figure(joining))
	say("| CPU of Redis | %s µs a publish in rooms, %s µs a join | %s cores |\n", figure(g.rooms.number("redis_cpu_us_per_publish")), figure(g.gather[len(g.gather)-1].number("redis_cpu_us_per_join")), figure(redisCores))
	say("| primaries of Redis | each half of one core busy | **%g** |\n", up(redisCores/busy))
	say("| bandwidth to clients | about %g bytes a message, %g of headers a segment, heartbeats | %s Mbit/s |\n", frame, packet, figure(out*8/1e6))
	say("| nodes | of 4 cores, half of them busy, and %g GiB, half of it used | **%g**, and one more for restarts |\n", perNode, nodes)
}
