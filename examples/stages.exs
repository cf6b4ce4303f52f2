# Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.
#
# A producer in the manner of GenStage's, without that dependency: each consumer asks for as many events as it can take,
# and no more are taken out of the queue. An event is gone when the consumer has acknowledged it; what a consumer had
# that died goes to the next who asks. After `make':
#
#     ERL_LIBS=_build/default/lib elixir examples/stages.exs /tmp/events 10
#
# It adds so many events to the queue, and handles all that are in it. The first consumer dies with its second event.
defmodule Producer do
  use GenServer

  def start_link(queue), do: GenServer.start_link(__MODULE__, queue)

  @doc "Asks for so many events; each comes as `{:event, term, receipt}`."
  def ask(producer, count), do: GenServer.cast(producer, {:ask, self(), count})

  @doc "Says that an event has been handled: it is gone when this returns."
  def ack(producer, receipt), do: GenServer.call(producer, {:ack, receipt})

  @impl true
  def init(queue) do
    producer = self()

    # It waits for events, so that the producer need not. Were one of the two to die, all that is taken comes back.
    taker = spawn_link(fn -> take(queue, producer) end)
    {:ok, %{queue: queue, taker: taker, asking: [], handed: %{}}}
  end

  @impl true
  def handle_cast({:ask, consumer, count}, state) do
    unless knows?(state, consumer), do: Process.monitor(consumer)
    send(state.taker, {:take, count})
    {:noreply, %{state | asking: state.asking ++ List.duplicate(consumer, count)}}
  end

  @impl true
  def handle_call({:ack, receipt}, _, state) do
    :ok = :emmap_queue.ack(state.queue, receipt)
    {:reply, :ok, %{state | handed: Map.delete(state.handed, receipt)}}
  end

  @impl true
  def handle_info({:taken, event, receipt}, %{asking: [consumer | asking]} = state) do
    send(consumer, {:event, event, receipt})
    {:noreply, %{state | asking: asking, handed: Map.put(state.handed, receipt, consumer)}}
  end

  # Whoever asked for it has died.
  def handle_info({:taken, _, receipt}, state) do
    :ok = :emmap_queue.nack(state.queue, receipt)
    {:noreply, state}
  end

  def handle_info({:DOWN, _, :process, consumer, _}, state) do
    {lost, handed} = Enum.split_with(state.handed, fn {_, owner} -> owner == consumer end)
    for {receipt, _} <- lost, do: :ok = :emmap_queue.nack(state.queue, receipt)
    asking = Enum.reject(state.asking, &(&1 == consumer))
    {:noreply, %{state | asking: asking, handed: Map.new(handed)}}
  end

  defp knows?(state, consumer) do
    consumer in state.asking or consumer in Map.values(state.handed)
  end

  defp take(queue, producer) do
    receive do
      {:take, count} ->
        for _ <- 1..count//1, do: send(producer, taken(:emmap_queue.take(queue, :infinity)))
    end

    take(queue, producer)
  end

  defp taken({:ok, event, receipt}), do: {:taken, event, receipt}
  # The producer ends with it.
  defp taken({:error, reason}), do: exit({:shutdown, reason})
end

defmodule Consumer do
  @doc "Handles events, never with more than two before it, and tells `parent` of each."
  def run(producer, parent, events) do
    Producer.ask(producer, 2)
    handle(producer, parent, events)
  end

  defp handle(producer, parent, events) do
    receive do
      {:event, _, _} when events == 0 ->
        exit(:accident)

      {:event, event, receipt} ->
        :ok = Producer.ack(producer, receipt)
        send(parent, {:handled, event})
        Producer.ask(producer, 1)
        handle(producer, parent, events - 1)
    end
  end
end

defmodule Stages do
  def main([file, count]) do
    {:ok, owner} = :emmap_queue.start_link({:local, :events}, file)
    :ok = :emmap_queue.push_list(:events, Enum.to_list(1..String.to_integer(count)//1))
    left = :emmap_queue.length(:events)
    {:ok, producer} = Producer.start_link(:events)
    # -1: for ever.
    for events <- [1, -1], do: start(producer, events)
    deaths = collect(producer, left, 0)

    IO.puts(
      "#{left} handled, consumers that died: #{deaths}, left: #{:emmap_queue.length(:events)}"
    )

    Process.unlink(producer)
    GenServer.stop(owner)
  end

  def main(_) do
    IO.puts(:stderr, "usage: elixir stages.exs FILE COUNT")
    System.halt(2)
  end

  defp start(producer, events) do
    parent = self()
    spawn_monitor(fn -> Consumer.run(producer, parent, events) end)
  end

  # As a supervisor would, starts another consumer for one that has died.
  defp collect(_, 0, deaths), do: deaths

  defp collect(producer, left, deaths) do
    receive do
      {:handled, event} ->
        IO.puts("event #{event}")
        collect(producer, left - 1, deaths)

      {:DOWN, _, :process, _, _} ->
        start(producer, -1)
        collect(producer, left, deaths + 1)
    end
  end
end

Stages.main(System.argv())
